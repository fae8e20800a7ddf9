// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/ovsdb_monitor.hpp"
#include "agent/ovsdb_remote.hpp"
#include "agent/ovsdb_value.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// Keeps a copy of some rows of an OVSDB database (RFC 7047 with ovsdb-server's monitor_cond;
/// plain monitor where the server knows no conditions, which may then give more rows than asked
/// for).
///
/// The copy outlives a lost connection: it is replaced, row by row and in one step, by what the
/// next server says. Everything happens on the thread that runs `context`; no call blocks.
class OvsdbClient {
 public:
  /// What has changed since the last call; empty when only settled() has become true.
  using Changes = OvsdbChanges;
  using Callback = std::function<void(const Changes&)>;

  struct Health {
    bool connected = false;  ///< and the copy is current
    bool complete = false;   ///< the copy has been complete at least once
    std::string remote;      ///< the one we talk to, or tried last
    std::string last_error;  ///< why the last connection ended
    std::uint64_t connections = 0, updates = 0;
    std::size_t rows = 0;  ///< in the copy
  };
  /// What became of a transaction: the results of its operations, none of them an error.
  using Committed = std::function<void(Result<nlohmann::json>)>;

  /// Checks the remotes and reads the key files. `changed` is called after each consistent batch,
  /// the first time when the copy is complete.
  static Result<std::unique_ptr<OvsdbClient>> create(boost::asio::io_context& context,
                                                     OvsdbOptions options,
                                                     std::map<std::string, OvsdbMonitor> tables,
                                                     Callback changed);
  OvsdbClient(const OvsdbClient&) = delete;
  OvsdbClient& operator=(const OvsdbClient&) = delete;
  /// Ends the connection; `changed` is not called any more.
  ~OvsdbClient();

  void start();
  /// Asks for other rows from now on.
  void where(const std::string& table, nlohmann::json condition);
  /// Has the server run these operations, all or none (RFC 7047, 4.1.3). `committed` is called
  /// once, later: with ErrorCode::unavailable when the connection is or gets lost (what became of
  /// the transaction is not known then), ErrorCode::denied when the server refuses. Not called when
  /// this ends first.
  void transact(nlohmann::json operations, Committed committed);

  [[nodiscard]] const OvsdbRows& rows(std::string_view table) const;
  /// The rows are those of the conditions set last: no change of them is on its way.
  [[nodiscard]] bool settled() const;
  [[nodiscard]] Health health() const;

 private:
  class Impl;
  explicit OvsdbClient(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap::agent
