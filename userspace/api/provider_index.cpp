// SPDX-License-Identifier: Apache-2.0
#include "api/provider_index.hpp"

#include <algorithm>
#include <memory>

#include "metatap/address.hpp"

namespace metatap::api {
namespace {

std::string place_of(std::string_view network_id, const Address& address) {
  return std::string(network_id) + ' ' + address.text();
}

/// Takes out one element that `fits`; the key goes with its last.
template <class Map, class Fits>
void drop(Map& map, const std::string& key, Fits&& fits) {
  if (map.get(key) == nullptr) {
    return;
  }
  auto& elements = map[key];
  if (const auto one = std::ranges::find_if(elements, fits); one != elements.end()) {
    elements.erase(one);
  }
  if (elements.empty()) {
    map.erase(key);
  }
}

template <class F>
void for_each_address(const Port& port, F&& f) {
  for (const auto& fixed : port.fixed_ips) {
    if (const auto address = Address::parse(fixed.ip_address)) {
      f(place_of(port.network_id, *address));
    }
  }
}

}  // namespace

void ProviderIndex::add(Index& index, const Subnet& subnet) {
  for (const auto& provider : subnet.advanced_service_providers) {
    index.networks[provider].push_back(subnet.network_id);
  }
}

void ProviderIndex::remove(Index& index, const Subnet& subnet) {
  for (const auto& provider : subnet.advanced_service_providers) {
    drop(index.networks, provider, [&](const auto& id) { return id == subnet.network_id; });
  }
}

void ProviderIndex::add(Index& index, const Port& port) {
  for_each_address(port, [&](const std::string& place) {
    index.owners[place].push_back({port.device_id, port.project_id});
  });
}

void ProviderIndex::remove(Index& index, const Port& port) {
  for_each_address(port, [&](const std::string& place) {
    drop(index.owners, place, [&](const Owner& owner) {
      return owner.instance_id == port.device_id && owner.project_id == port.project_id;
    });
  });
}

std::shared_ptr<const ProviderIndex::Index> ProviderIndex::index_of(const Inventory& inventory) {
  auto index = std::make_shared<Index>();
  for (const auto& [id, subnet] : inventory.subnets) {
    add(*index, *subnet);
  }
  if (!index->networks.empty()) {
    for (const auto& [id, port] : inventory.ports) {
      add(*index, *port);
    }
  }
  return index;
}

ProviderIndex::ProviderIndex(const Inventory& inventory) : index_(index_of(inventory)) {}

void ProviderIndex::apply(const InventoryChange& change) {
  auto index = std::make_shared<Index>(*index_.get());
  const bool had_providers = !index->networks.empty();
  const auto follow = [&](const auto& ids, const auto& before, const auto& after) {
    for (const auto& id : ids) {
      if (const auto* old = get(before, id)) {
        remove(*index, *old);
      }
      if (const auto* now = get(after, id)) {
        add(*index, *now);
      }
    }
  };
  follow(change.subnets, change.before->subnets, change.after->subnets);
  if (index->networks.empty() != !had_providers) {
    index_.set(index_of(*change.after));  // the first provider, or the last one gone
    return;
  }
  if (had_providers) {
    follow(change.ports, change.before->ports, change.after->ports);
    index_.set(std::move(index));
  }
}

ProviderIndex::Found ProviderIndex::find(std::string_view provider,
                                         std::string_view address) const {
  const auto index = index_.get();
  const auto wanted = Address::parse(address);
  const auto* networks = index->networks.get(provider);
  if (networks == nullptr) {
    return {};
  }
  Found found{.provider = true, .owners = {}};
  for (auto network = networks->begin(); network != networks->end(); ++network) {
    if (!wanted || std::find(networks->begin(), network, *network) != network) {
      continue;  // no address; a further subnet of the same network
    }
    if (const auto* owners = index->owners.get(place_of(*network, *wanted))) {
      found.owners.insert(found.owners.end(), owners->begin(), owners->end());
    }
  }
  return found;
}

}  // namespace metatap::api
