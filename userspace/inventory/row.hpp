// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// How stores keep objects: one row for each, its JSON as text. The network cache of an instance
/// stands apart, so that reading it back need not parse what is only carried, and so does what no
/// document says: the place of a port.
namespace metatap {

/// `kind` is the table's name in the document.
struct Row {
  std::string_view kind;
  std::string id, body;
  std::optional<std::string> network_info;
  std::optional<std::int64_t> place;  ///< Port::attached
};

/// What a change does to the rows.
struct RowChanges {
  std::vector<Row> put;
  std::vector<std::pair<std::string_view, std::string>> erase;  ///< kind and id
};
RowChanges rows_of(const InventoryChange& change);

/// Takes an object out of its table, if it is there.
Status erase_row(Inventory& inventory, std::string_view kind, std::string_view id);

/// Puts a row just read into its table. Rows may come in any order.
Status add_row(Inventory& inventory, std::string_view kind, std::string_view body,
               std::optional<std::string> network_info, std::optional<std::int64_t> place);

}  // namespace metatap
