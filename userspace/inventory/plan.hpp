// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/model.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// A change as it is shown to the operator: what is added, changed and removed, table by table.
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

Plan plan_of(const InventoryChange& change);

/// What it would change to make the inventory what the document says. Ids that the store would give
/// are not given, so an instance without them is compared as if it had those it has now.
Result<Plan> plan_of(std::string_view document, const std::shared_ptr<const Inventory>& base);

}  // namespace metatap
