// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory_directory.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace metatap::agent {
namespace {

template <class Match>
Result<Identity> only(const std::vector<Match>& matches) {
  if (matches.size() != 1) {
    return fail(ErrorCode::not_found,
                matches.empty() ? "no port is there" : "several ports claim the address");
  }
  return matches.front()->identity;
}

}  // namespace

void InventoryDirectory::Index::remove(std::string_view port_id) {
  const auto* found = ports.get(port_id);
  if (found == nullptr) {
    return;
  }
  const EntryPtr entry = *found;
  for (const auto& key : entry->keys) {
    auto& there = places[key];
    std::erase(there, entry);
    if (there.empty()) {
      places.erase(key);
    }
  }
  if (!entry->router_id.empty()) {
    auto& networks = routers[entry->router_id];
    if (const auto one = std::ranges::find(networks, entry->network_id); one != networks.end()) {
      networks.erase(one);
    }
    if (networks.empty()) {
      routers.erase(entry->router_id);
    }
  }
  ports.erase(port_id);
}

void InventoryDirectory::Index::add(EntryPtr entry) {
  for (const auto& key : entry->keys) {
    places[key].push_back(entry);
  }
  if (!entry->router_id.empty()) {
    routers[entry->router_id].push_back(entry->network_id);
  }
  ports[entry->port_id] = entry;
}

InventoryDirectory::InventoryDirectory(const Inventory& inventory, std::function<bool()> complete)
    : index_(std::make_shared<const Index>()), complete_(std::move(complete)) {
  set(inventory);
}

InventoryDirectory::EntryPtr InventoryDirectory::entry_of(const Inventory& inventory,
                                                          const Port& port) {
  const auto* network = get(inventory.networks, port.network_id);
  if (!port.admin_state_up || (network != nullptr && !network->admin_state_up)) {
    return nullptr;
  }
  auto entry = std::make_shared<Entry>();
  entry->port_id = port.id;
  entry->identity = {port.device_id, port.project_id};
  const auto put = [&](const std::optional<Locator>& locator) {
    if (!locator) {
      return;
    }
    const PlaceKey key(port.network_id, *locator);
    if (!key.view().empty() && std::ranges::find(entry->keys, key.view()) == entry->keys.end()) {
      entry->keys.emplace_back(key.view());
    }
  };
  for (const auto& fixed : port.fixed_ips) {
    put(Locator::of_fixed_ip(fixed.ip_address));
  }
  put(Locator::of_mac(port.mac_address));
  if (std::ranges::find(kRouterInterfaceOwners, port.device_owner) !=
      kRouterInterfaceOwners.end()) {
    const auto* router = get(inventory.routers, port.device_id);
    if (router == nullptr || router->admin_state_up) {
      entry->router_id = port.device_id;
      entry->network_id = port.network_id;
    }
  }
  return entry;
}

void InventoryDirectory::set(const Inventory& inventory) {
  auto index = std::make_shared<Index>();
  for (const auto& [id, port] : inventory.ports) {
    if (auto entry = entry_of(inventory, *port)) {
      index->add(std::move(entry));
    }
  }
  index_.set(std::move(index));
}

void InventoryDirectory::apply(const InventoryChange& change) {
  std::set<std::string, std::less<>> touched(change.ports.begin(), change.ports.end());
  // A network or router that went up or down takes its ports along.
  std::set<std::string_view> switched;
  const auto note = [&](const auto& ids, const auto& before, const auto& after) {
    for (const auto& id : ids) {
      const auto* was = get(before, id);
      const auto* is = get(after, id);
      if ((was == nullptr || was->admin_state_up) != (is == nullptr || is->admin_state_up)) {
        switched.insert(id);
      }
    }
  };
  note(change.networks, change.before->networks, change.after->networks);
  note(change.routers, change.before->routers, change.after->routers);
  if (!switched.empty()) {
    for (const auto& [id, port] : change.after->ports) {
      if (switched.contains(port->network_id) || switched.contains(port->device_id)) {
        touched.insert(id);
      }
    }
  }
  if (touched.empty()) {
    return;
  }
  auto index = std::make_shared<Index>(*index_.get());
  for (const auto& id : touched) {
    index->remove(id);
    if (const auto* port = get(change.after->ports, id)) {
      if (auto entry = entry_of(*change.after, *port)) {
        index->add(std::move(entry));
      }
    }
  }
  index_.set(std::move(index));
}

Result<Identity> InventoryDirectory::known(const DirectoryQuery& query) const {
  const bool complete = !complete_ || complete_();  // first: what is learned meanwhile is found
  auto identity = look_up(query);
  if (!identity && !complete) {
    return fail(ErrorCode::unavailable, "the inventory is not known yet");
  }
  return identity;
}

Result<Identity> InventoryDirectory::look_up(const DirectoryQuery& query) const {
  const auto index = index_.get();
  const auto identity = [&]() -> Result<Identity> {
    if (!query.port_id.empty()) {
      const auto* entry = index->ports.get(query.port_id);
      if (entry == nullptr) {
        return fail(ErrorCode::not_found, "no such port");
      }
      return (*entry)->identity;
    }
    const auto locator = Locator::of_address(query.address);
    if (!locator || query.network_id.empty() == query.router_id.empty()) {
      return fail(ErrorCode::not_found, "the question names no single place");
    }
    if (!query.network_id.empty()) {
      const PlaceKey key(query.network_id, *locator);
      const auto* there = index->places.get(key.view());
      return there == nullptr ? only(std::vector<EntryPtr>()) : only(*there);
    }
    const auto* networks = index->routers.get(query.router_id);
    if (networks == nullptr) {
      return fail(ErrorCode::not_found, "no such router, or it has no interface");
    }
    std::vector<EntryPtr> matches;
    for (auto network = networks->begin(); network != networks->end(); ++network) {
      if (std::find(networks->begin(), network, *network) != network) {
        continue;  // two interfaces in one network
      }
      const PlaceKey key(*network, *locator);
      if (const auto* there = index->places.get(key.view())) {
        matches.insert(matches.end(), there->begin(), there->end());
      }
    }
    return only(matches);
  }();
  if (identity && identity->instance_id.empty()) {
    return fail(ErrorCode::not_found, "the port belongs to no instance");
  }
  return identity;
}

boost::asio::awaitable<Result<Identity>> InventoryDirectory::find(const DirectoryQuery& query,
                                                                  Freshness /*freshness*/) {
  co_return known(query);
}

std::size_t InventoryDirectory::ports() const {
  return index_.get()->ports.size();
}

}  // namespace metatap::agent
