// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include "metatap/store.hpp"

namespace metatap {

/// The store in one SQLite file: write-ahead log, a sync at each commit, so that what was
/// acknowledged survives kill -9 and power loss. A file of a newer schema, or of another program,
/// is refused and left as it is. Not thread-safe; the control thread owns it.
class SqliteStore final : public Store {
 public:
  /// Makes the file (0600) and its directory if they are not there.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& path);
  /// What open() would refuse, without making or touching anything.
  [[nodiscard]] static Status check(const std::filesystem::path& path);

  ~SqliteStore() override;
  Result<std::shared_ptr<const Inventory>> load() override;
  Result<InventoryChange> replace(const Inventory& wanted) override;
  Result<InventoryChange> set_password(std::string_view instance_id,
                                       std::string_view text) override;
  Result<InventoryChange> clear_password(std::string_view instance_id) override;
  void on_foreign_change(std::function<void()> callback) override;
  [[nodiscard]] Health health() const override;

 private:
  class Impl;
  explicit SqliteStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap
