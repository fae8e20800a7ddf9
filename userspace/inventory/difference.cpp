// SPDX-License-Identifier: Apache-2.0
#include "inventory/difference.hpp"

#include <utility>

namespace metatap {

InventoryChange difference(std::shared_ptr<const Inventory> before,
                           std::shared_ptr<const Inventory> after) {
  InventoryChange change{std::move(before), std::move(after), {}, {}, {}, {}, {}};
  if (change.before == change.after) {
    return change;
  }
  const auto ids = [](const auto& old, const auto& now) {
    return differing_ids(old, now, [](const std::string&) {});
  };
  change.networks = ids(change.before->networks, change.after->networks);
  change.subnets = ids(change.before->subnets, change.after->subnets);
  change.routers = ids(change.before->routers, change.after->routers);
  change.ports = ids(change.before->ports, change.after->ports);
  change.instances = ids(change.before->instances, change.after->instances);
  return change;
}

}  // namespace metatap
