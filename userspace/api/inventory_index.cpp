// SPDX-License-Identifier: Apache-2.0
#include "api/inventory_index.hpp"

#include <algorithm>

namespace metatap::api {
namespace {

constexpr std::string_view kDhcpOwner = "network:dhcp";

template <class Map>
void drop(Map& map, std::string_view key, const std::string& id) {
  if (const auto found = map.find(key); found != map.end()) {
    found->second.erase(id);
    if (found->second.empty()) {
      map.erase(found);
    }
  }
}

}  // namespace

InventoryIndex::InventoryIndex(std::shared_ptr<const Inventory> inventory)
    : inventory_(std::move(inventory)) {
  for (const auto& [id, port] : inventory_->ports) {
    add(*port);
  }
}

void InventoryIndex::add(const Port& port) {
  if (!port.device_id.empty()) {
    instance_ports_[port.device_id].insert(port.id);
  }
  network_ports_[port.network_id].insert(port.id);
  if (port.device_owner == kDhcpOwner) {
    dhcp_ports_[port.network_id].insert(port.id);
  }
}

void InventoryIndex::remove(const Port& port) {
  drop(instance_ports_, port.device_id, port.id);
  drop(network_ports_, port.network_id, port.id);
  drop(dhcp_ports_, port.network_id, port.id);
}

std::set<std::string> InventoryIndex::follow(const InventoryChange& change) {
  const Inventory& before = *change.before;
  const Inventory& after = *change.after;
  std::set<std::string> touched(change.instances.begin(), change.instances.end());
  std::set<std::string> networks(change.networks.begin(), change.networks.end());
  for (const std::string& id : change.subnets) {
    for (const Inventory* side : {&before, &after}) {
      if (const Subnet* subnet = get(side->subnets, id)) {
        networks.insert(subnet->network_id);
      }
    }
  }
  for (const std::string& id : change.ports) {
    const auto touch = [&](const Port& port) {
      touched.insert(port.device_id);
      if (port.device_owner == kDhcpOwner) {
        networks.insert(port.network_id);  // it decides about every port's MTU and DHCP
      }
    };
    if (const Port* old = get(before.ports, id)) {
      touch(*old);
      remove(*old);
    }
    if (const Port* now = get(after.ports, id)) {
      touch(*now);
      add(*now);
    }
  }
  inventory_ = change.after;
  for (const std::string& id : networks) {
    if (const auto ports = network_ports_.find(id); ports != network_ports_.end()) {
      for (const std::string& port : ports->second) {
        if (const Port* p = get(inventory_->ports, port)) {
          touched.insert(p->device_id);
        }
      }
    }
  }
  touched.erase("");
  return touched;
}

std::vector<const Port*> InventoryIndex::ports_of_instance(std::string_view instance_id) const {
  std::vector<const Port*> ports;
  if (const auto found = instance_ports_.find(instance_id); found != instance_ports_.end()) {
    for (const std::string& id : found->second) {
      if (const Port* port = get(inventory_->ports, id)) {
        ports.push_back(port);
      }
    }
  }
  std::ranges::stable_sort(ports, {}, &Port::attached);
  return ports;
}

const std::string* InventoryIndex::dhcp_server(std::string_view network_id,
                                               std::string_view subnet_id) const {
  if (const auto found = dhcp_ports_.find(network_id); found != dhcp_ports_.end()) {
    for (const std::string& id : found->second) {
      if (const Port* port = get(inventory_->ports, id)) {
        for (const FixedIp& ip : port->fixed_ips) {
          if (ip.subnet_id == subnet_id) {
            return &ip.ip_address;
          }
        }
      }
    }
  }
  return nullptr;
}

const Network* InventoryIndex::network(std::string_view id) const {
  return get(inventory_->networks, id);
}

const Subnet* InventoryIndex::subnet(std::string_view id) const {
  return get(inventory_->subnets, id);
}

}  // namespace metatap::api
