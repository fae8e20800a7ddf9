// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_monitor.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;

OvsdbRow row_of(const json& columns) {
  OvsdbRow row;
  for (const auto& [column, value] : columns.items()) {
    row[column] = value;
  }
  return row;
}

void compare(const std::string& table, const OvsdbRows& before, const OvsdbRows& after,
             OvsdbChanges& changes) {
  for (const auto& [uuid, row] : before) {
    if (!after.contains(uuid)) {
      changes.emplace(table, uuid);
    }
  }
  for (const auto& [uuid, row] : after) {
    const auto old = before.find(uuid);
    if (old == before.end() || old->second != row) {
      changes.emplace(table, uuid);
    }
  }
}

}  // namespace

Status check_updates(const json& updates) {
  const auto wrong = [](const std::string& what) {
    return fail(ErrorCode::invalid, "the server's update is malformed: " + what);
  };
  if (!updates.is_object()) {
    return wrong("no tables");
  }
  for (const auto& [table, rows] : updates.items()) {
    if (!rows.is_object()) {
      return wrong(table + " has no rows");
    }
    for (const auto& [uuid, row] : rows.items()) {
      if (!row.is_object()) {
        return wrong("a row of " + table + " is none");
      }
      for (const auto& [kind, columns] : row.items()) {
        if (!columns.is_object() && !columns.is_null()) {
          return wrong("a row of " + table + " has no columns");
        }
      }
    }
  }
  return {};
}

OvsdbCopy::OvsdbCopy(std::map<std::string, OvsdbMonitor> tables) : tables_(std::move(tables)) {
  for (const auto& [table, monitor] : tables_) {
    data_[table];
  }
}

const OvsdbRows& OvsdbCopy::rows(std::string_view table) const {
  static const OvsdbRows kNone;
  const auto found = data_.find(table);
  return found == data_.end() ? kNone : found->second;
}

bool OvsdbCopy::set_condition(const std::string& table, json condition) {
  const auto monitor = tables_.find(table);
  if (monitor == tables_.end() || monitor->second.where == condition) {
    return false;
  }
  monitor->second.where = std::move(condition);
  return true;
}

std::optional<json> OvsdbCopy::take_condition(const std::string& table) {
  if (!conditional_ || !columns_.contains(table)) {
    return std::nullopt;
  }
  auto wanted = known_clauses(table);
  if (told_conditions_[table] == wanted) {
    return std::nullopt;
  }
  told_conditions_[table] = wanted;
  return wanted;
}

json OvsdbCopy::known_clauses(const std::string& table) const {
  const auto& columns = columns_.at(table);
  json known = json::array();
  for (const auto& clause : tables_.at(table).where) {
    // A clause is a boolean or [column, function, value].
    if (!clause.is_array() || clause.empty() || clause[0] == "_uuid" ||
        (clause[0].is_string() && columns.contains(clause[0].get_ref<const std::string&>()))) {
      known.push_back(clause);
    }
  }
  return known.empty() ? json::array({false}) : known;
}

std::size_t OvsdbCopy::size() const {
  std::size_t rows = 0;
  for (const auto& [table, present] : data_) {
    rows += present.size();
  }
  return rows;
}

Status OvsdbCopy::learn(const json& schema) {
  const auto tables = schema.find("tables");
  if (!schema.is_object() || tables == schema.end()) {
    return fail(ErrorCode::invalid, "the server's schema has no tables");
  }
  columns_.clear();
  for (const auto& [table, monitor] : tables_) {
    const auto found = tables->find(table);
    if (found == tables->end() && monitor.optional) {
      continue;
    }
    if (found == tables->end() || !found->contains("columns")) {
      return fail(ErrorCode::invalid, "the database has no table " + table);
    }
    columns_[table];
    for (const auto& column : monitor.columns) {
      if (const auto known = (*found)["columns"].find(column);
          known != (*found)["columns"].end() && known->contains("type")) {
        columns_[table][column] = ovsdb_column((*known)["type"]);
      }
    }
  }
  return {};
}

json OvsdbCopy::requests(bool conditional) {
  conditional_ = conditional;
  told_conditions_.clear();
  json all = json::object();
  for (const auto& [table, known] : columns_) {
    json columns = json::array();
    for (const auto& [column, kind] : known) {
      columns.push_back(column);
    }
    json request = {{"columns", columns}};
    if (conditional_) {
      request["where"] = known_clauses(table);
      told_conditions_[table] = request["where"];
    }
    all[table] = json::array({request});
  }
  return all;
}

/// The rows are "initial" with conditions, "new" without.
OvsdbChanges OvsdbCopy::replace(const json& contents) {
  Data fresh;
  for (const auto& [table, monitor] : tables_) {
    fresh[table];
  }
  if (contents.is_object()) {
    for (const auto& [table, rows] : contents.items()) {
      for (const auto& [uuid, row] : rows.items()) {
        for (const auto* kind : {"initial", "insert", "new"}) {
          if (const auto columns = row.find(kind); columns != row.end()) {
            fresh[table][uuid] = row_of(*columns);
          }
        }
      }
    }
  }
  OvsdbChanges changes;
  for (const auto& [table, rows] : fresh) {
    compare(table, data_[table], rows, changes);
  }
  data_ = std::move(fresh);
  return changes;
}

OvsdbChanges OvsdbCopy::every_row() const {
  OvsdbChanges all;
  for (const auto& [table, rows] : data_) {
    for (const auto& [uuid, row] : rows) {
      all.emplace(table, uuid);
    }
  }
  return all;
}

OvsdbChanges OvsdbCopy::update(const json& updates) {
  OvsdbChanges changes;
  if (!updates.is_object()) {
    return changes;
  }
  for (const auto& [table, rows] : updates.items()) {
    auto& mine = data_[table];
    for (const auto& [uuid, change] : rows.items()) {
      changes.emplace(table, uuid);
      if (conditional_) {
        change_row(table, uuid, change);
      } else if (const auto now = change.find("new"); now != change.end() && now->is_object()) {
        for (const auto& [column, value] : now->items()) {
          mine[uuid][column] = value;
        }
      } else {
        mine.erase(uuid);
      }
    }
  }
  return changes;
}

void OvsdbCopy::change_row(const std::string& table, const std::string& uuid, const json& change) {
  auto& rows = data_[table];
  const auto& kinds = columns_[table];
  if (change.contains("delete")) {
    rows.erase(uuid);
  } else if (const auto fresh =
                 change.contains("insert") ? change.find("insert") : change.find("initial");
             fresh != change.end()) {
    rows[uuid] = row_of(*fresh);
  } else if (const auto modified = change.find("modify");
             modified != change.end() && modified->is_object()) {
    auto& row = rows[uuid];
    for (const auto& [column, difference] : modified->items()) {
      const auto kind = kinds.find(column);
      row[column] = ovsdb_changed(row[column], difference,
                                  kind == kinds.end() ? OvsdbColumn{} : kind->second);
    }
  }
}

void OvsdbServerState::update(const json& updates) {
  const auto database = updates.find("Database");
  if (!updates.is_object() || database == updates.end()) {
    return;
  }
  for (const auto& [uuid, change] : database->items()) {
    if (change.contains("delete")) {
      rows_.erase(uuid);
      continue;
    }
    for (const auto* kind : {"initial", "insert", "modify"}) {
      if (const auto columns = change.find(kind); columns != change.end()) {
        for (const auto& [column, value] : columns->items()) {
          rows_[uuid][column] = value;
        }
      }
    }
  }
}

Status OvsdbServerState::usable(const std::string& database, bool leader_only) const {
  for (const auto& [uuid, row] : rows_) {
    if (ovsdb_text(row, "name") != database || ovsdb_text(row, "model") != "clustered") {
      continue;
    }
    const auto flag = [&columns = row](std::string_view column) {
      const auto value = columns.find(column);
      return value != columns.end() && value->second == true;
    };
    if (!flag("connected")) {
      return fail(ErrorCode::unavailable, "this member has lost its cluster");
    }
    if (leader_only && !flag("leader")) {
      return fail(ErrorCode::unavailable, "this member is not the cluster's leader");
    }
  }
  return {};
}

}  // namespace metatap::agent
