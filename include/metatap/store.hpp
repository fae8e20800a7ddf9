// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// The seam to the database: SQLite in the process, or PostgreSQL for several hosts.
namespace metatap {

/// Calls block, a database that hangs perhaps for long: they are made one at a time on a thread of
/// the store's caller that nobody waits for without a limit (InventoryService has one), but for
/// health(), which any thread may ask. Once a call has returned success its effect survives kill -9
/// and power loss.
class Store {
 public:
  virtual ~Store() = default;

  [[nodiscard]] virtual Result<std::shared_ptr<const Inventory>> load() = 0;

  // The next three return the change that was made: from what was stored until then to what is
  // stored now, empty if they are the same. `before` is the very object the last call returned,
  // unless somebody else has changed the database meanwhile.

  /// Makes the stored state equal to `wanted`, in one transaction, with EC2 ids and reservation ids
  /// allocated where they are absent, passwords that guests have posted kept, and a revision that
  /// has grown if anything changed. A `wanted` that was made from a revision is taken only while
  /// that one is the stored one (ErrorCode::conflict); revision 0, which no stored state has, is
  /// taken in any case.
  [[nodiscard]] virtual Result<InventoryChange> replace(const Inventory& wanted) = 0;

  /// Sets the guest's password if it has none. ErrorCode::conflict: it has one already.
  /// ErrorCode::not_found: no such instance. Text of at most 1020 bytes, split by the store.
  [[nodiscard]] virtual Result<InventoryChange> set_password(std::string_view instance_id,
                                                             std::string_view text) = 0;
  [[nodiscard]] virtual Result<InventoryChange> clear_password(std::string_view instance_id) = 0;

  /// Calls back on a thread of the store's choosing when somebody else changed the database;
  /// the receiver then calls load(). Never called for one's own changes. Several processes of one
  /// host may share a SQLite file: each is told within a second what another has stored.
  virtual void on_foreign_change(std::function<void()> callback) = 0;

  /// One line for `metatap status`: where it is and whether it can be reached.
  struct Health {
    bool reachable = true;
    std::string where, detail;  ///< no credential in either
  };
  [[nodiscard]] virtual Health health() const = 0;

  /// Whether what is stored may be out of this host's reach, so that a copy here is worth having.
  [[nodiscard]] virtual bool remote() const { return false; }
};

}  // namespace metatap
