// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "metatap/store.hpp"

namespace metatap {

/// The store in a PostgreSQL database that several hosts share. Every commit is announced by
/// NOTIFY; a thread of the store's own listens, tells of what other hosts changed, and sees when
/// the database goes away and when it is back. Calls are made on the control thread; while the
/// database is away they fail with ErrorCode::unavailable, at once or after a few seconds, and the
/// next one tries to connect again.
class PostgresStore final : public Store {
 public:
  /// `url`: libpq's postgresql://…, with SQLAlchemy's `+driver` tolerated. Makes the tables
  /// (metatap_*) if they are not there; refuses a newer schema.
  static Result<std::unique_ptr<Store>> open(std::string_view url);

  ~PostgresStore() override;
  Result<std::shared_ptr<const Inventory>> load() override;
  Result<InventoryChange> replace(const Inventory& wanted) override;
  Result<InventoryChange> set_password(std::string_view instance_id,
                                       std::string_view text) override;
  Result<InventoryChange> clear_password(std::string_view instance_id) override;
  void on_foreign_change(std::function<void()> callback) override;
  [[nodiscard]] Health health() const override;

 private:
  class Impl;
  explicit PostgresStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap
