// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Values as the Open vSwitch database writes them (RFC 7047, section 5.1): atoms, ["uuid", …],
/// ["set", […]] and ["map", [[k, v], …]]. A one-element set may also be written as its element.
namespace metatap::agent {

/// The monitored columns of one row; those at their default ("", 0, an empty set) may be absent.
using OvsdbRow = std::map<std::string, nlohmann::json, std::less<>>;
/// The rows of one table by their uuid.
using OvsdbRows = std::map<std::string, OvsdbRow, std::less<>>;

/// How a column's changes are to be read.
struct OvsdbColumn {
  bool is_map = false;
  bool many = false;  ///< may hold more than one element: a change is told as a difference
};
/// From a column's type in the schema.
[[nodiscard]] OvsdbColumn ovsdb_column(const nlohmann::json& type);

/// What `difference`, as told by update2, makes of the value.
[[nodiscard]] nlohmann::json ovsdb_changed(const nlohmann::json& value,
                                           const nlohmann::json& difference, OvsdbColumn column);

// Reading a column. An absent column or one of another shape gives nullopt or nothing.
[[nodiscard]] std::optional<std::string> ovsdb_text(const OvsdbRow& row, std::string_view column);
[[nodiscard]] std::optional<std::int64_t> ovsdb_integer(const OvsdbRow& row,
                                                        std::string_view column);
[[nodiscard]] std::optional<std::string> ovsdb_uuid(const OvsdbRow& row, std::string_view column);
[[nodiscard]] std::vector<std::string> ovsdb_uuids(const OvsdbRow& row, std::string_view column);
[[nodiscard]] std::vector<std::string> ovsdb_texts(const OvsdbRow& row, std::string_view column);
/// One value of a string map, or nullopt.
[[nodiscard]] std::optional<std::string> ovsdb_entry(const OvsdbRow& row, std::string_view column,
                                                     std::string_view key);

}  // namespace metatap::agent
