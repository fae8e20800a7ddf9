// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "inventory/document.hpp"
#include "inventory/port_index.hpp"
#include "inventory/snapshot.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"
#include "metatap/store.hpp"

namespace metatap {

/// What tells one version of a file from the next without reading it.
struct FileVersion {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified_ns = 0;
  bool operator==(const FileVersion&) const = default;

  static std::optional<FileVersion> of(const std::filesystem::path& path);
};

/// Whether another try may go better, as when the store is away.
[[nodiscard]] bool is_passing(const Error& error);

/// The part of the inventory's service that may have to wait: the store, the copy of its state on
/// this host, and the file. All calls block, and are made on one thread; what they return is the
/// change from the state that the store had to the one it has.
class Keeper {
 public:
  /// `snapshot`: where the copy is kept; empty: none is. `file`: `[inventory] file`.
  Keeper(std::unique_ptr<Store> store, std::filesystem::path snapshot,
         std::optional<std::filesystem::path> file);

  [[nodiscard]] const Store& store() const { return *store_; }  ///< for health(): any thread
  void on_foreign_change(std::function<void()> callback);

  [[nodiscard]] Result<InventoryChange> load();
  [[nodiscard]] Result<InventoryChange> replace(std::string_view document,
                                                const DocumentFiles& files = nullptr);
  [[nodiscard]] Result<InventoryChange> put(std::string_view document, Existing existing);
  [[nodiscard]] Result<InventoryChange> remove_instance(std::string_view uuid);
  [[nodiscard]] Result<InventoryChange> set_password(std::string_view uuid, std::string_view text);
  [[nodiscard]] Result<InventoryChange> clear_password(std::string_view uuid);

  /// Makes the inventory what the file says, if it says another thing than it did when it was last
  /// looked at. What could not be read or stored is tried anew with each look; contents that were
  /// refused are not, until they change.
  struct Look {
    bool changed = true;  ///< false: all is as it was after the last look that was new
    Status refused;       ///< why the file's contents are not what is stored
    std::optional<InventoryChange> change;
  };
  [[nodiscard]] Look look();
  /// The next look is at a file that was never seen.
  void forget_file() { settled_.reset(); }

  /// Notes in the copy that its state is still the store's.
  void confirm();
  /// The copy, read without the rest: also while another thread waits in here.
  [[nodiscard]] Result<Snapshot::State> remembered() const { return snapshot_.read(); }

 private:
  template <class F>
  [[nodiscard]] Result<InventoryChange> edit(F&& change);
  [[nodiscard]] Result<InventoryChange> noted(Result<InventoryChange> change);
  /// Of `latest_`.
  const PortIndex& index();

  const std::unique_ptr<Store> store_;
  const std::optional<std::filesystem::path> file_;
  std::shared_ptr<const Inventory> latest_;  ///< what the store has, as far as we know; null: never
  std::optional<PortIndex> index_;           ///< of `latest_`, once it was needed
  KeptSnapshot snapshot_;
  std::optional<FileVersion> settled_;  ///< the file as it was when `refused_` was found out
  Status refused_;
};

}  // namespace metatap
