// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "metatap/model.hpp"

namespace metatap::api {

/// Answers "which ports has this instance?" and "which ports has this network?" without a walk
/// through the inventory. Kept up to date change by change; used on one thread at a time, or by
/// many that only read.
class InventoryIndex {
 public:
  InventoryIndex() = default;
  explicit InventoryIndex(std::shared_ptr<const Inventory> inventory);

  /// Takes over `change.after` and returns the ids of the instances whose metadata may now differ,
  /// removed ones included.
  std::set<std::string> follow(const InventoryChange& change);

  [[nodiscard]] const Inventory& inventory() const { return *inventory_; }
  /// In the order in which they were attached, which is that of the instance's NICs.
  [[nodiscard]] std::vector<const Port*> ports_of_instance(std::string_view instance_id) const;
  /// The addresses of the network's DHCP ports within a subnet, first one first.
  [[nodiscard]] const std::string* dhcp_server(std::string_view network_id,
                                               std::string_view subnet_id) const;
  [[nodiscard]] const Network* network(std::string_view id) const;
  [[nodiscard]] const Subnet* subnet(std::string_view id) const;

 private:
  using Ids = std::set<std::string, std::less<>>;
  void add(const Port& port);
  void remove(const Port& port);

  std::shared_ptr<const Inventory> inventory_ = std::make_shared<const Inventory>();
  std::map<std::string, Ids, std::less<>> instance_ports_, network_ports_, dhcp_ports_;
};

}  // namespace metatap::api
