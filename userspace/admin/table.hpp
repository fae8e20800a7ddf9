// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

/// JSON for people: what `metatap` prints unless it is asked for --json.
namespace metatap::admin {

/// Columns in line, left-justified; a column in which nothing stands is left out.
std::string table(const std::vector<std::string>& header,
                  const std::vector<std::vector<std::string>>& rows);

/// Rows of objects as a table whose columns are the keys in the order they first appear, or those
/// of `columns`.
std::string table_of(const nlohmann::ordered_json& rows, std::vector<std::string> columns = {});

/// An object of sections: values in line under each heading, lists of objects as tables.
std::string sections_of(const nlohmann::ordered_json& sections);

/// Of UTF-8: false of the bytes that go on with one.
[[nodiscard]] inline bool begins_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U;
}

/// A value in one cell: texts bare, lists with commas, null as nothing. Control characters are
/// shown as `?`, so that no text reaches the terminal as a command.
std::string cell_of(const nlohmann::ordered_json& value);

}  // namespace metatap::admin
