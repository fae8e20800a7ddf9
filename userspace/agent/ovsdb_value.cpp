// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_value.hpp"

#include <algorithm>

namespace metatap::agent {
namespace {

using nlohmann::json;

bool tagged(const json& value, std::string_view tag) {
  return value.is_array() && value.size() == 2 && value[0].is_string() &&
         value[0].get_ref<const std::string&>() == tag;
}

/// The elements of a set; an atom is a set of one.
std::vector<json> elements(const json& value) {
  if (tagged(value, "set")) {
    return value[1].is_array() ? value[1].get<std::vector<json>>() : std::vector<json>();
  }
  if (value.is_null()) {
    return {};  // never told: update2 leaves out what has its default
  }
  return {value};
}

std::vector<json> column_elements(const OvsdbRow& row, std::string_view column) {
  const auto found = row.find(column);
  return found == row.end() ? std::vector<json>() : elements(found->second);
}

const json* only_element(const std::vector<json>& all) {
  return all.size() == 1 ? &all.front() : nullptr;
}

std::optional<std::string> uuid_of(const json& value) {
  if (!tagged(value, "uuid") || !value[1].is_string()) {
    return std::nullopt;
  }
  return value[1].get<std::string>();
}

}  // namespace

OvsdbColumn ovsdb_column(const json& type) {
  if (!type.is_object()) {
    return {};
  }
  const auto max = type.find("max");
  return {
      .is_map = type.contains("value"),
      .many = max != type.end() && !(max->is_number_integer() && max->get<std::int64_t>() <= 1)};
}

json ovsdb_changed(const json& value, const json& difference, OvsdbColumn column) {
  if (!column.many) {
    return difference;
  }
  if (!column.is_map) {
    auto now = elements(value);
    for (const auto& element : elements(difference)) {
      if (const auto at = std::ranges::find(now, element); at != now.end()) {
        now.erase(at);
      } else {
        now.push_back(element);
      }
    }
    return json::array({"set", now});
  }
  if (!tagged(value, "map") || !tagged(difference, "map") || !value[1].is_array()) {
    return difference;
  }
  auto pairs = value[1].get<std::vector<json>>();
  for (const auto& pair : difference[1]) {
    if (!pair.is_array() || pair.size() != 2) {
      continue;
    }
    const auto at = std::ranges::find_if(pairs, [&](const json& old) {
      return old.is_array() && old.size() == 2 && old[0] == pair[0];
    });
    if (at == pairs.end()) {
      pairs.push_back(pair);
    } else if ((*at)[1] == pair[1]) {
      pairs.erase(at);
    } else {
      (*at)[1] = pair[1];
    }
  }
  return json::array({"map", pairs});
}

std::optional<std::string> ovsdb_text(const OvsdbRow& row, std::string_view column) {
  const auto all = column_elements(row, column);
  const auto* one = only_element(all);
  return one != nullptr && one->is_string() ? std::optional(one->get<std::string>()) : std::nullopt;
}

std::optional<std::int64_t> ovsdb_integer(const OvsdbRow& row, std::string_view column) {
  const auto all = column_elements(row, column);
  const auto* one = only_element(all);
  return one != nullptr && one->is_number_integer() ? std::optional(one->get<std::int64_t>())
                                                    : std::nullopt;
}

std::optional<std::string> ovsdb_uuid(const OvsdbRow& row, std::string_view column) {
  const auto all = column_elements(row, column);
  const auto* one = only_element(all);
  return one != nullptr ? uuid_of(*one) : std::nullopt;
}

std::vector<std::string> ovsdb_uuids(const OvsdbRow& row, std::string_view column) {
  std::vector<std::string> uuids;
  for (const auto& element : column_elements(row, column)) {
    if (auto uuid = uuid_of(element)) {
      uuids.push_back(std::move(*uuid));
    }
  }
  return uuids;
}

std::vector<std::string> ovsdb_texts(const OvsdbRow& row, std::string_view column) {
  std::vector<std::string> texts;
  for (const auto& element : column_elements(row, column)) {
    if (element.is_string()) {
      texts.push_back(element.get<std::string>());
    }
  }
  return texts;
}

std::optional<std::string> ovsdb_entry(const OvsdbRow& row, std::string_view column,
                                       std::string_view key) {
  const auto found = row.find(column);
  if (found == row.end() || !tagged(found->second, "map") || !found->second[1].is_array()) {
    return std::nullopt;
  }
  for (const auto& pair : found->second[1]) {
    if (pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string() &&
        pair[0].get_ref<const std::string&>() == key) {
      return pair[1].get<std::string>();
    }
  }
  return std::nullopt;
}

}  // namespace metatap::agent
