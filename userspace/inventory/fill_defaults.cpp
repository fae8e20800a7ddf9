// SPDX-License-Identifier: Apache-2.0
#include "inventory/fill_defaults.hpp"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "inventory/hostname.hpp"
#include "inventory/json_reader.hpp"

namespace metatap {
namespace {

void keep_places(const Inventory& inventory, const FreshObjects& fresh, const Inventory& stored) {
  std::vector<Port*> coming;
  std::unordered_map<std::string_view, std::int64_t> last;  // place by device
  for (const auto& port : fresh.ports) {
    if (const Port* old = get(stored.ports, port->id);
        old != nullptr && old->device_id == port->device_id) {
      port->attached = old->attached;
    } else {
      coming.push_back(port.get());
      last.try_emplace(port->device_id, 0);
    }
  }
  if (coming.empty()) {
    return;
  }
  for (const auto& [id, port] : inventory.ports) {
    if (const auto device = last.find(port->device_id); device != last.end()) {
      device->second = std::max(device->second, port->attached);
    }
  }
  for (Port* port : coming) {
    port->attached = ++last[port->device_id];
  }
}

}  // namespace

void fill_defaults(const Inventory& inventory, const FreshObjects& fresh,
                   const DocumentPlaces& places, const Inventory& stored) {
  keep_places(inventory, fresh, stored);
  std::unordered_map<std::string_view, std::vector<const Port*>> ports_of;
  for (const auto& instance : fresh.instances) {
    if (instance->project_id.empty()) {
      ports_of.try_emplace(instance->uuid);
    }
  }
  if (!ports_of.empty()) {
    for (const auto& [id, port] : inventory.ports) {
      if (const auto owner = ports_of.find(port->device_id); owner != ports_of.end()) {
        owner->second.push_back(port.get());
      }
    }
  }
  for (const auto& instance : fresh.instances) {
    if (instance->display_name.empty()) {
      instance->display_name = instance->name;
    }
    if (instance->hostname.empty()) {
      const Instance* old = get(stored.instances, instance->uuid);
      instance->hostname = old != nullptr && !old->hostname.empty()
                               ? old->hostname
                               : hostname_from(instance->display_name, instance->uuid);
    }
    if (!instance->project_id.empty()) {
      continue;
    }
    for (const Port* port : ports_of[instance->uuid]) {
      if (!port->project_id.empty() && !instance->project_id.empty() &&
          port->project_id != instance->project_id) {
        throw json::Refused{places.pointer("instances", instance->uuid, "/project_id"),
                            "its ports belong to several projects, so it must be said"};
      }
      if (instance->project_id.empty()) {
        instance->project_id = port->project_id;
      }
    }
  }
  // A guest is asked for by its port's project: one that is not given is its instance's, or else
  // its network's.
  for (const auto& port : fresh.ports) {
    if (!port->project_id.empty()) {
      continue;
    }
    if (const auto owner = inventory.instances.find(port->device_id);
        owner != inventory.instances.end() && !owner->second->project_id.empty()) {
      port->project_id = owner->second->project_id;
    } else if (const auto network = inventory.networks.find(port->network_id);
               network != inventory.networks.end()) {
      port->project_id = network->second->project_id;
    }
  }
  for (const auto& instance : fresh.instances) {
    if (instance->project_id.empty()) {
      for (const Port* port : ports_of[instance->uuid]) {
        instance->project_id = port->project_id;
      }
    }
  }
}

}  // namespace metatap
