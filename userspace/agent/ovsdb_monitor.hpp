// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/ovsdb_value.hpp"
#include "metatap/result.hpp"

/// What of an OVSDB database is asked for, and the copy that is kept of it. No network here.
namespace metatap::agent {

/// What to monitor in one table. `where` is a list of clauses, any of which selects a row
/// (RFC 7047, 5.1); [true] selects all and [false] none. Columns the server's schema lacks are
/// left out, and so is each clause about one; the other clauses stay.
struct OvsdbMonitor {
  std::vector<std::string> columns;
  nlohmann::json where = nlohmann::json::array({true});
  bool optional = false;  ///< a schema without the table will do: it has no rows then
};

/// Table and row uuid of all that was added, changed or removed.
using OvsdbChanges = std::set<std::pair<std::string, std::string>>;

/// Does a server's update, or its first answer, have the shape of one: tables of rows of changes?
[[nodiscard]] Status check_updates(const nlohmann::json& updates);

class OvsdbCopy {
 public:
  explicit OvsdbCopy(std::map<std::string, OvsdbMonitor> tables);

  [[nodiscard]] const OvsdbRows& rows(std::string_view table) const;
  [[nodiscard]] const std::map<std::string, OvsdbMonitor>& tables() const { return tables_; }

  /// Whether that is another condition than before; false also for a table that is not monitored.
  bool set_condition(const std::string& table, nlohmann::json condition);
  /// The condition to tell the server, where it believes in another: it is taken as told then.
  [[nodiscard]] std::optional<nlohmann::json> take_condition(const std::string& table);
  /// How many rows there are in all tables together.
  [[nodiscard]] std::size_t size() const;

  /// Which of the columns we want there are, and how their changes are told.
  Status learn(const nlohmann::json& schema);
  /// What a monitor request asks for. With conditions, the server tells differences to the rows
  /// from then on (update2); without, whole rows (update).
  [[nodiscard]] nlohmann::json requests(bool conditional);
  /// Makes the copy what the reply to a monitor request says.
  [[nodiscard]] OvsdbChanges replace(const nlohmann::json& contents);
  /// As if all had changed.
  [[nodiscard]] OvsdbChanges every_row() const;
  /// Follows an update.
  [[nodiscard]] OvsdbChanges update(const nlohmann::json& updates);

 private:
  using Data = std::map<std::string, OvsdbRows, std::less<>>;

  /// Those clauses of a table's condition that its schema knows the columns of.
  [[nodiscard]] nlohmann::json known_clauses(const std::string& table) const;
  /// How one row changes, as told to a monitor with conditions.
  void change_row(const std::string& table, const std::string& uuid, const nlohmann::json& change);

  std::map<std::string, OvsdbMonitor> tables_;
  std::map<std::string, std::map<std::string, OvsdbColumn>, std::less<>> columns_;
  std::map<std::string, nlohmann::json> told_conditions_;
  bool conditional_ = true;
  Data data_;
};

/// What a server says of itself in its database _Server, which only those have that can be members
/// of a cluster.
class OvsdbServerState {
 public:
  void clear() { rows_.clear(); }
  void update(const nlohmann::json& updates);
  /// An error if the server is no use: a member that has lost its cluster shows an ever older
  /// state.
  [[nodiscard]] Status usable(const std::string& database, bool leader_only) const;

 private:
  OvsdbRows rows_;
};

}  // namespace metatap::agent
