// SPDX-License-Identifier: Apache-2.0
#include "inventory/fill_defaults.hpp"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "inventory/hostname.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

/// What Nova has where nobody says otherwise: [DEFAULT] default_availability_zone.
constexpr std::string_view kZone = "nova";
/// Of a guest that no flavor describes. Nova has no such; a guest reads it as its instance type.
constexpr std::string_view kFlavor = "custom";

bool there(const std::optional<std::string>& text) {
  return text && !text->empty();
}

/// The key's name, its bytes and its pair are one thing said in two places.
void complete_key(Instance& instance) {
  const auto& pairs = instance.keypairs;
  if (!there(instance.key_name) && !pairs.empty()) {
    instance.key_name = pairs.front().name;
  }
  const auto pair = std::ranges::find(pairs, instance.key_name.value_or(""), &Keypair::name);
  if (!there(instance.key_data) && pair != pairs.end()) {
    instance.key_data = pair->public_key;
  }
}

/// `old`: as it is stored, or null.
void complete(Instance& instance, const Instance* old) {
  if (instance.display_name.empty()) {
    instance.display_name = instance.name;
  }
  if (instance.hostname.empty()) {
    instance.hostname = old != nullptr && !old->hostname.empty()
                            ? old->hostname
                            : hostname_from(instance.display_name, instance.uuid);
  }
  if (instance.display_name.empty()) {
    instance.display_name = instance.hostname;
  }
  if (!instance.availability_zone) {
    instance.availability_zone = kZone;
  }
  if (!instance.flavor_name) {
    instance.flavor_name = kFlavor;
  }
  complete_key(instance);
}

/// The ports of a device, the document's among them.
class PortsOfDevice {
 public:
  PortsOfDevice(const FreshObjects& fresh, const DocumentPlaces& places, const PortIndex& others)
      : places_(places), others_(others) {
    for (const auto& port : fresh.ports) {
      fresh_[port->device_id].push_back(port.get());
    }
  }

  template <class Use>
  void each(std::string_view device, Use&& use) const {
    if (const auto found = fresh_.find(device); found != fresh_.end()) {
      std::ranges::for_each(found->second, [&](const Port* port) { use(*port); });
    }
    others_.each(PortIndex::By::owner, "", device, [&](const Port& port) {
      if (!places_.has("ports", port.id)) {
        use(port);
      }
    });
  }

 private:
  const DocumentPlaces& places_;
  const PortIndex& others_;
  std::unordered_map<std::string_view, std::vector<const Port*>> fresh_;
};

void keep_places(const PortsOfDevice& ports, const FreshObjects& fresh, const Inventory& stored) {
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
  for (auto& entry : last) {
    ports.each(entry.first, [&entry](const Port& port) {
      entry.second = std::max(entry.second, port.attached);
    });
  }
  for (Port* port : coming) {
    port->attached = ++last[port->device_id];
  }
}

/// An address is of that subnet of its network which has it, if there is but one.
void find_subnets(const Inventory& inventory, const FreshObjects& fresh) {
  std::unordered_map<std::string_view, std::vector<const Subnet*>> subnets;  // by network
  for (const auto& port : fresh.ports) {
    for (auto& fixed : port->fixed_ips) {
      if (fixed.subnet_id.empty()) {
        subnets.try_emplace(port->network_id);
      }
    }
  }
  if (subnets.empty()) {
    return;
  }
  for (const auto& [id, subnet] : inventory.subnets) {
    if (const auto wanted = subnets.find(subnet->network_id); wanted != subnets.end()) {
      wanted->second.push_back(subnet.get());
    }
  }
  for (const auto& port : fresh.ports) {
    for (auto& fixed : port->fixed_ips) {
      const auto address = Address::parse(fixed.ip_address);
      if (!fixed.subnet_id.empty() || !address) {
        continue;
      }
      std::vector<const Subnet*> having;
      std::ranges::copy_if(subnets[port->network_id], std::back_inserter(having),
                           [&](const Subnet* subnet) {
                             const auto cidr = Prefix::parse(subnet->cidr);
                             return cidr && cidr->contains(*address);
                           });
      if (having.size() == 1) {
        fixed.subnet_id = having.front()->id;
      }
    }
  }
}

/// An instance's project is that of its ports, if it is one.
void find_project(Instance& instance, const PortsOfDevice& ports, const DocumentPlaces& places,
                  json::Mistakes& mistakes) {
  std::set<std::string> projects;
  ports.each(instance.uuid, [&](const Port& port) { projects.insert(port.project_id); });
  projects.erase("");
  if (projects.size() > 1) {
    mistakes.add(places.pointer("instances", instance.uuid, "/project_id"),
                 "its ports belong to several projects, so it must be said");
  }
  if (!projects.empty()) {
    instance.project_id = *projects.begin();
  }
}

}  // namespace

void fill_defaults(const Inventory& inventory, const FreshObjects& fresh,
                   const DocumentPlaces& places, const Inventory& stored, const PortIndex& others,
                   json::Mistakes& mistakes) {
  const PortsOfDevice ports(fresh, places, others);
  keep_places(ports, fresh, stored);
  find_subnets(inventory, fresh);
  for (const auto& instance : fresh.instances) {
    complete(*instance, get(stored.instances, instance->uuid));
    if (instance->project_id.empty()) {
      find_project(*instance, ports, places, mistakes);
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
      const Port* last = nullptr;  // by id
      ports.each(instance->uuid, [&](const Port& port) {
        last = last == nullptr || last->id < port.id ? &port : last;
      });
      instance->project_id = last == nullptr ? "" : last->project_id;
    }
  }
}

}  // namespace metatap
