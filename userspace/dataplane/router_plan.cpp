// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_plan.hpp"

#include <sys/socket.h>

#include <algorithm>

#include "dataplane/port_policy.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::size_t kPrefix = 11;  ///< characters of a port's id in a device's name
const std::set<std::string> kNone;

std::string_view prefix_of(std::string_view id) {
  return id.substr(0, kPrefix);
}

template <class Sets>
const std::set<std::string>& find_in(const Sets& sets, std::string_view key) {
  const auto found = sets.find(key);
  return found == sets.end() ? kNone : found->second;
}

template <class Sets>
void erase_from(Sets& sets, std::string_view key, const std::string& id) {
  if (const auto found = sets.find(key); found != sets.end()) {
    found->second.erase(id);
    if (found->second.empty()) {
      sets.erase(found);
    }
  }
}

}  // namespace

PortIndex::PortIndex(std::shared_ptr<const Inventory> inventory)
    : inventory_(std::move(inventory)) {
  for (const auto& [id, port] : inventory_->ports) {
    add(*port);
  }
  for (const auto& [id, subnet] : inventory_->subnets) {
    if (subnet->ip_version == 6) {
      v6_subnets_[subnet->network_id].insert(id);
    }
  }
}

void PortIndex::apply(const InventoryChange& change) {
  inventory_ = change.after;
  for (const auto& id : change.ports) {
    if (const auto old = change.before->ports.find(id); old != change.before->ports.end()) {
      remove(*old->second);
    }
    if (const auto now = change.after->ports.find(id); now != change.after->ports.end()) {
      add(*now->second);
    }
  }
  for (const auto& id : change.subnets) {
    if (const auto old = change.before->subnets.find(id); old != change.before->subnets.end()) {
      erase_from(v6_subnets_, old->second->network_id, id);
    }
    if (const auto now = change.after->subnets.find(id);
        now != change.after->subnets.end() && now->second->ip_version == 6) {
      v6_subnets_[now->second->network_id].insert(id);
    }
  }
}

void PortIndex::add(const Port& port) {
  by_network_[port.network_id].insert(port.id);
  if (port.device_owner.starts_with("network:")) {
    network_owned_[port.network_id].insert(port.id);
  }
  by_prefix_[std::string(prefix_of(port.id))].insert(port.id);
}

void PortIndex::remove(const Port& port) {
  erase_from(by_network_, port.network_id, port.id);
  erase_from(network_owned_, port.network_id, port.id);
  erase_from(by_prefix_, prefix_of(port.id), port.id);
}

const std::set<std::string>& PortIndex::ports_of(std::string_view network_id) const {
  return find_in(by_network_, network_id);
}

const std::set<std::string>& PortIndex::network_owned_ports_of(std::string_view network_id) const {
  return find_in(network_owned_, network_id);
}

const std::set<std::string>& PortIndex::ports_named(std::string_view id_prefix) const {
  return find_in(by_prefix_, id_prefix);
}

bool PortIndex::has_v6(std::string_view network_id) const {
  return !find_in(v6_subnets_, network_id).empty();
}

bool faces_guests(Path path, std::string_view device) {
  return path == Path::router ? device.starts_with("qr-")
                              : device.starts_with("tap") || device.starts_with("ns-");
}

namespace {

std::vector<RouterSource> sources_of(const PortIndex& index, std::string_view network_id) {
  std::vector<RouterSource> sources;
  std::map<Address, int> claims;
  for (const auto& id : index.ports_of(network_id)) {
    const Port& port = *index.inventory().ports.find(id)->second;
    if (port.device_owner.starts_with("network:")) {
      continue;  // routers and DHCP servers are not guests
    }
    RouterSource source{port.id, port.project_id,     {},
                        {},      port.admin_state_up, policy_of(index.inventory(), port)};
    for (const auto& fixed : port.fixed_ips) {
      if (const auto address = Address::parse(fixed.ip_address)) {
        source.addresses.push_back(*address);
        ++claims[*address];
      }
    }
    if (const auto mac = parse_mac(port.mac_address)) {
      source.mac = *mac;
    }
    sources.push_back(std::move(source));
  }
  // Several ports with one address: Neutron's agent says 404, and so shall ours.
  for (auto& source : sources) {
    std::erase_if(source.addresses, [&](const auto& address) { return claims[address] > 1; });
  }
  return sources;
}

/// The port that a device's name stands for, or why there is none.
struct Named {
  const Port* port = nullptr;
  std::string prefix;
  std::size_t ports = 0;
};

Named port_named(const PortIndex& index, std::string_view device) {
  const auto prefix = device.substr(device.starts_with("tap") ? 3 : device.find('-') + 1);
  if (prefix.size() < kPrefix) {
    return {};
  }
  const auto& ids = index.ports_named(prefix);
  Named named{nullptr, std::string(prefix), ids.size()};
  if (ids.size() == 1) {
    named.port = index.inventory().ports.find(*ids.begin())->second.get();
  }
  return named;
}

/// Where the MTU is too small for it, the kernel has no IPv6 on a device (RFC 8200, 5).
bool carries_v6(const sys::Link& link) {
  constexpr unsigned kLeastMtu = 1280;
  return link.mtu == 0 || link.mtu >= kLeastMtu;
}

/// Known, and not told to be left alone?
PlaceState state_of(const Inventory& inventory, const PlaceName& place) {
  if (place.path == Path::dhcp) {
    return inventory.networks.contains(place.id) ? PlaceState::served : PlaceState::unknown;
  }
  const auto router = inventory.routers.find(place.id);
  if (router == inventory.routers.end()) {
    return PlaceState::unknown;
  }
  return router->second->admin_state_up ? PlaceState::served : PlaceState::down;
}

}  // namespace

PlacePlan plan_place(const PortIndex& index, const PlaceName& place,
                     const std::vector<sys::Link>& links) {
  const auto& inventory = index.inventory();
  PlacePlan plan;
  plan.state = state_of(inventory, place);
  if (plan.state != PlaceState::served) {
    return plan;
  }
  for (const auto& link : links) {
    if (!faces_guests(place.path, link.name)) {
      continue;
    }
    RouterDevice device;
    device.name = link.name;
    device.ifindex = link.index;
    const auto named = port_named(index, link.name);
    const auto* port = named.port;
    bool enabled = true;
    if (port != nullptr) {
      device.port_id = port->id;
      device.network_id = port->network_id;
      enabled = port->admin_state_up;
    }
    if (place.path == Path::router) {
      device.router_id = place.id;
      if (port == nullptr) {
        plan.problems.push_back({link.name, DeviceState::unknown, named.prefix, named.ports, {}});
        continue;
      }
      if (port->device_id != place.id) {
        plan.problems.push_back({link.name, DeviceState::foreign, port->device_id, 1, port->id});
        continue;
      }
    } else if (port != nullptr && port->network_id != place.id) {
      plan.problems.push_back({link.name, DeviceState::foreign, port->network_id, 1, port->id});
      continue;
    } else {
      // The namespace names the network; its own port need not be in the inventory.
      device.network_id = place.id;
    }
    const auto network = inventory.networks.find(device.network_id);
    device.enabled =
        enabled && (network == inventory.networks.end() || network->second->admin_state_up);
    device.v6 = carries_v6(link) && (place.path == Path::dhcp || index.has_v6(device.network_id));
    device.sources = sources_of(index, device.network_id);
    plan.devices.push_back(std::move(device));
  }
  return plan;
}

Address link_local_of(const MacAddress& mac) {
  Address address;
  address.family = AF_INET6;
  address.bytes = {0xfe, 0x80};
  const std::array<std::uint8_t, 8> id = {
      static_cast<std::uint8_t>(mac[0] ^ 0x02), mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
  std::ranges::copy(id, address.bytes.begin() + 8);
  return address;
}

}  // namespace metatap::dataplane
