// SPDX-License-Identifier: Apache-2.0
#include "inventory/plan.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace metatap {
namespace {

template <class T>
Plan::Table compare(std::string_view name, const Inventory::Table<T>& before,
                    const Inventory::Table<T>& after) {
  Plan::Table table{name, {}, {}, {}};
  for_each_difference(before, after, [&](const std::string& id, const T* old, const T* now) {
    if (old == nullptr) {
      table.added.push_back(id);
    } else if (now == nullptr) {
      table.removed.push_back(id);
    } else if (*old != *now) {
      table.changed.push_back(id);
    }
  });
  return table;
}

}  // namespace

bool Plan::empty() const {
  return std::ranges::all_of(tables, [](const Table& table) {
    return table.added.empty() && table.changed.empty() && table.removed.empty();
  });
}

std::string Plan::text(std::size_t ids_shown) const {
  if (empty()) {
    return "nothing to change\n";
  }
  std::string out;
  for (const auto& table : tables) {
    if (table.added.empty() && table.changed.empty() && table.removed.empty()) {
      continue;
    }
    out += fmt::format("{:<10} {} added, {} changed, {} removed\n", table.name, table.added.size(),
                       table.changed.size(), table.removed.size());
    const auto list = [&](char sign, const std::vector<std::string>& ids) {
      for (std::size_t index = 0; index < std::min(ids.size(), ids_shown); ++index) {
        out += fmt::format("  {} {}\n", sign, ids[index]);
      }
      if (ids.size() > ids_shown) {
        out += fmt::format("  {} … and {} more\n", sign, ids.size() - ids_shown);
      }
    };
    list('+', table.added);
    list('~', table.changed);
    list('-', table.removed);
  }
  return out;
}

Plan plan(const Inventory& before, const Inventory& after) {
  return Plan{{compare("networks", before.networks, after.networks),
               compare("subnets", before.subnets, after.subnets),
               compare("routers", before.routers, after.routers),
               compare("ports", before.ports, after.ports),
               compare("instances", before.instances, after.instances)},
              after.revision};
}

InventoryChange change_between(std::shared_ptr<const Inventory> before,
                               std::shared_ptr<const Inventory> after, const Plan& plan) {
  InventoryChange change{std::move(before), std::move(after), {}, {}, {}, {}, {}};
  const std::array lists{&change.networks, &change.subnets, &change.routers, &change.ports,
                         &change.instances};
  for (std::size_t at = 0; at < lists.size(); ++at) {
    const auto& table = plan.tables[at];
    for (const auto* ids : {&table.added, &table.changed, &table.removed}) {
      lists[at]->insert(lists[at]->end(), ids->begin(), ids->end());
    }
  }
  return change;
}

}  // namespace metatap
