// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "metatap/store.hpp"

namespace metatap {

/// The store in a PostgreSQL database that several hosts share. Every commit is announced by
/// NOTIFY; a thread of the store's own listens, tells of what other hosts changed, and sees when
/// the database goes away and when it is back. While it is away calls fail with
/// ErrorCode::unavailable, at once or when it has kept silent for the limit, and the next one tries
/// to connect again.
///
/// Everything is held, or what the ports of one host need: then load() returns that part, only what
/// concerns that host is told of, and replace() is refused (ErrorCode::denied), because what is not
/// held would be deleted.
class PostgresStore final : public Store {
 public:
  /// `url`: libpq's postgresql://…, with SQLAlchemy's `+driver` tolerated. Does not connect: the
  /// first call does, and makes the tables (metatap_*) if they are not there. It refuses a newer
  /// schema (ErrorCode::unsupported) and a database that holds another program's tables and none
  /// of ours (ErrorCode::invalid). `limit`: how long the server may take for one answer. `host`:
  /// the one whose part is held, as ports are bound to it; empty: everything is.
  static Result<std::unique_ptr<Store>> open(std::string_view url, std::chrono::milliseconds limit,
                                             std::string host);
  /// What the first call would refuse, without making anything. ErrorCode::unavailable: the server
  /// does not answer.
  [[nodiscard]] static Status check(std::string_view url, std::chrono::milliseconds limit);

  ~PostgresStore() override;
  Result<std::shared_ptr<const Inventory>> load() override;
  Result<InventoryChange> replace(const Inventory& wanted) override;
  Result<InventoryChange> set_password(std::string_view instance_id,
                                       std::string_view text) override;
  Result<InventoryChange> clear_password(std::string_view instance_id) override;
  void on_foreign_change(std::function<void()> callback) override;
  [[nodiscard]] Health health() const override;
  [[nodiscard]] bool remote() const override { return true; }

 private:
  class Impl;
  explicit PostgresStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap
