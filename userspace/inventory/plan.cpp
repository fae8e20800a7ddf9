// SPDX-License-Identifier: Apache-2.0
#include "inventory/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "inventory/difference.hpp"
#include "inventory/document.hpp"
#include "inventory/step.hpp"

namespace metatap {
namespace {

template <class T>
Plan::Table table_of(std::string_view name, const std::vector<std::string>& ids,
                     const Inventory::Table<T>& before, const Inventory::Table<T>& after) {
  Plan::Table table{name, {}, {}, {}};
  for (const auto& id : ids) {
    auto& list = !before.contains(id)  ? table.added
                 : !after.contains(id) ? table.removed
                                       : table.changed;
    list.push_back(id);
  }
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

Plan plan_of(const InventoryChange& change) {
  const Inventory& before = *change.before;
  const Inventory& after = *change.after;
  return Plan{{table_of("networks", change.networks, before.networks, after.networks),
               table_of("subnets", change.subnets, before.subnets, after.subnets),
               table_of("routers", change.routers, before.routers, after.routers),
               table_of("ports", change.ports, before.ports, after.ports),
               table_of("instances", change.instances, before.instances, after.instances)},
              after.revision};
}

Result<Plan> plan_of(std::string_view document, const std::shared_ptr<const Inventory>& base) {
  auto wanted = parse_document(document, *base);
  if (!wanted) {
    return tl::make_unexpected(std::move(wanted.error()));
  }
  std::vector<std::shared_ptr<const Instance>> filled;
  for_each_difference(base->instances, wanted->instances,
                      [&](const std::string&, const Instance* old, const Instance* now) {
                        if (old != nullptr && now != nullptr) {
                          filled.push_back(with_kept_ids(*now, *old));
                        }
                      });
  for (auto& instance : filled) {
    wanted->instances[instance->uuid] = std::move(instance);
  }
  return plan_of(difference(base, std::make_shared<const Inventory>(*std::move(wanted))));
}

}  // namespace metatap
