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

/// Calls block; they are made on the control thread, never on a worker. Once a call has returned
/// success its effect survives kill -9 and power loss.
class Store {
 public:
  virtual ~Store() = default;

  [[nodiscard]] virtual Result<Inventory> load() = 0;

  /// Makes the stored state equal to `wanted` (in one transaction) and returns what is now stored:
  /// `wanted` with EC2 ids and reservation ids allocated where they were absent, passwords that
  /// guests have posted kept, and a revision that has grown if anything changed. A `wanted` that
  /// was made from a revision is taken only while that one is the stored one (ErrorCode::conflict);
  /// revision 0, which no stored state has, is taken in any case.
  [[nodiscard]] virtual Result<Inventory> replace(const Inventory& wanted) = 0;

  /// Sets the guest's password if it has none. ErrorCode::conflict: it has one already.
  /// ErrorCode::not_found: no such instance. Text of at most 1020 bytes, split by the store.
  [[nodiscard]] virtual Result<Inventory> set_password(std::string_view instance_id,
                                                       std::string_view text) = 0;
  [[nodiscard]] virtual Result<Inventory> clear_password(std::string_view instance_id) = 0;

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
};

}  // namespace metatap
