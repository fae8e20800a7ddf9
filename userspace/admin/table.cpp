// SPDX-License-Identifier: Apache-2.0
#include "admin/table.hpp"

#include <algorithm>

namespace metatap::admin {
namespace {

using Json = nlohmann::ordered_json;

/// Characters, not bytes: enough for names; wide ones are rare here.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, begins_character));
}

void pad(std::string& line, const std::string& text, std::size_t width) {
  line += text;
  line.append(width - std::min(width, width_of(text)), ' ');
}

bool is_table(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::ranges::all_of(value, [](const Json& row) { return row.is_object(); });
}

std::string indented(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    out += "  " + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return out;
}

}  // namespace

std::string table(const std::vector<std::string>& header,
                  const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(header.size(), 0);
  for (const auto& row : rows) {
    for (std::size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], width_of(row[column]));
    }
  }
  std::string out;
  const auto print = [&](const std::vector<std::string>& row) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (widths[column] > 0) {
        pad(line, row[column], std::max(widths[column], width_of(header[column])) + 2);
      }
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  print(header);
  for (const auto& row : rows) {
    print(row);
  }
  return out;
}

std::string table_of(const Json& rows, std::vector<std::string> columns) {
  if (columns.empty()) {
    for (const auto& row : rows) {
      for (const auto& [key, value] : row.items()) {
        if (std::ranges::find(columns, key) == columns.end()) {
          columns.push_back(key);
        }
      }
    }
  }
  std::vector<std::vector<std::string>> cells;
  for (const auto& row : rows) {
    auto& line = cells.emplace_back();
    for (const auto& column : columns) {
      line.push_back(row.contains(column) ? cell_of(row[column]) : "");
    }
  }
  std::vector<std::string> header;
  for (auto column : columns) {
    std::ranges::transform(column, column.begin(), [](char c) {
      return c == '_' ? ' ' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    });
    header.push_back(std::move(column));
  }
  return table(header, cells);
}

std::string sections_of(const Json& sections) {
  std::string out;
  for (const auto& [name, section] : sections.items()) {
    out += (out.empty() ? "" : "\n") + name + "\n";
    if (is_table(section)) {
      out += indented(table_of(section));
      continue;
    }
    if (!section.is_object()) {
      out += indented(cell_of(section) + "\n");
      continue;
    }
    std::size_t width = 0;
    for (const auto& [key, value] : section.items()) {
      width = std::max(width, width_of(key));
    }
    for (const auto& [key, value] : section.items()) {
      std::string label = key;
      std::ranges::replace(label, '_', ' ');
      if (is_table(value)) {
        out += "  " + label + "\n" + indented(indented(table_of(value)));
      } else if (value.is_object()) {
        out += "  " + label + "\n";
        for (const auto& [inner, figure] : value.items()) {
          std::string line = "    ";
          pad(line, inner, 36);
          out += line + " " + cell_of(figure) + "\n";
        }
      } else {
        std::string line = "  ";
        pad(line, label, width + 2);
        out += line + cell_of(value) + "\n";
      }
    }
  }
  return out;
}

std::string cell_of(const Json& value) {
  if (value.is_null()) {
    return "";
  }
  if (value.is_array()) {
    std::string list;
    for (const auto& item : value) {
      list += (list.empty() ? "" : ", ") + cell_of(item);
    }
    return list;
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "yes" : "no";
  }
  std::string text = value.is_string() ? value.get<std::string>()
                                       : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

}  // namespace metatap::admin
