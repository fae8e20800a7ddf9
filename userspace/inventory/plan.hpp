// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/model.hpp"

namespace metatap {

/// What leads from one inventory to another, object by object.
struct Plan {
  struct Table {
    std::string_view name;  ///< "networks", "subnets", …
    std::vector<std::string> added, changed, removed;
  };
  std::array<Table, 5> tables;
  std::uint64_t revision = 0;  ///< of the inventory it leads to; meaningless in a dry run

  [[nodiscard]] bool empty() const;
  /// For a person: counts, then the ids, at most `ids_shown` of each kind.
  [[nodiscard]] std::string text(std::size_t ids_shown = 10) const;
};

Plan plan(const Inventory& before, const Inventory& after);

/// The same as subscribers are told it.
InventoryChange change_between(std::shared_ptr<const Inventory> before,
                               std::shared_ptr<const Inventory> after, const Plan& plan);

}  // namespace metatap
