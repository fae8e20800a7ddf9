// SPDX-License-Identifier: Apache-2.0
#include "dataplane/port_addresses.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <bitset>
#include <cstring>

namespace metatap::dataplane {
namespace {

const Address kLinkLocal{AF_INET6, {0xfe, 0x80}};

using Taken = std::bitset<MT_FIRST_LEARNED>;

std::uint32_t lowest_free(const Taken& taken) {
  std::uint32_t index = 0;
  while (index < taken.size() && taken[index]) {
    ++index;
  }
  return index;
}

void take(Taken& taken, std::uint32_t index) {
  if (index < taken.size()) {
    taken.set(index);
  }
}

}  // namespace

PortAddresses PortAddresses::of(const Port& port) {
  constexpr std::size_t kMost[] = {MT_FIRST_LEARNED, MT_FIRST_LEARNED - 1 /* fe80:: */};
  PortAddresses all;
  const auto own_mac = parse_mac(port.mac_address);
  const auto mac = own_mac ? *own_mac : MacAddress{};
  all.any_mac = !own_mac || port.mac_policy == MacPolicy::any;
  std::size_t count[] = {0, 0};
  const auto own = [&](const Address& address, const MacAddress& to, bool fixed) {
    if (address.link_local() || all.find(address) != nullptr) {
      return;
    }
    const bool v6 = address.family == AF_INET6;
    if (count[v6] == kMost[v6]) {
      ++all.left_out;
      return;
    }
    ++count[v6];
    all.addresses.push_back({address, to, fixed, 0});
  };
  for (const auto& fixed : port.fixed_ips) {
    if (const auto address = Address::parse(fixed.ip_address)) {
      own(*address, mac, true);
      if (all.first_fixed.empty()) {
        all.first_fixed = address->text();
      }
    }
  }
  for (const auto& pair : port.allowed_address_pairs) {
    const auto other = parse_mac(pair.mac_address.value_or(port.mac_address));
    const auto to = other ? *other : mac;
    if (other && own_mac && !all.has_mac(mac, to)) {
      all.further_macs.push_back(to);
    }
    if (const auto network = Prefix::parse(pair.ip_address)) {
      if (network->length < network->address.bits()) {
        all.networks.push_back(network->masked());
      } else {
        own(network->address, to, false);
      }
    } else if (const auto address = Address::parse(pair.ip_address)) {
      own(*address, to, false);
    }
  }
  all.addresses.push_back({kLinkLocal, mac, false, MT_LINK_LOCAL});
  return all;
}

PortAddresses PortAddresses::of_nobody() {
  PortAddresses all;
  all.any_mac = true;
  all.addresses.push_back({kLinkLocal, {}, false, MT_LINK_LOCAL});
  return all;
}

bool PortAddresses::include(const PortAddresses& met, const MacAddress& own_mac, bool learn) {
  for (const auto& seen : met.addresses) {
    const bool spoke = seen.mac != MacAddress{};
    if (spoke && !may_speak_from(own_mac, seen.mac)) {
      return false;
    }
    const auto own = std::ranges::find(addresses, seen.address, &Own::address);
    if (own != addresses.end()) {
      own->mac = spoke ? seen.mac : own->mac;
    } else if (learn || admits(seen.address)) {
      addresses.push_back({seen.address, seen.mac, false, seen.index, true});
    } else {
      return false;
    }
  }
  return has_indices();
}

void PortAddresses::keep_met(const PortAddresses& before, bool learn) {
  for (const auto& old : before.addresses) {
    if (old.met && find(old.address) == nullptr && (learn || admits(old.address))) {
      addresses.push_back(old);
      if (!has_indices()) {
        addresses.pop_back();
        return;
      }
    }
  }
}

void PortAddresses::keep_macs(const PortAddresses& before, const MacAddress& own_mac) {
  for (auto& own : addresses) {
    const auto* const old = before.find(own.address);
    if (old != nullptr && old->mac != MacAddress{} && may_speak_from(own_mac, old->mac)) {
      own.mac = old->mac;
    }
  }
}

bool PortAddresses::has_indices() const {
  const auto of = [&](int family) {
    return std::ranges::count(addresses, family, [](const Own& own) { return own.address.family; });
  };
  return of(AF_INET) <= MT_FIRST_LEARNED && of(AF_INET6) <= MT_FIRST_LEARNED;
}

void PortAddresses::number(const PortAddresses& before) {
  Taken now[2], ever[2];
  now[1].set(MT_LINK_LOCAL);
  ever[1].set(MT_LINK_LOCAL);
  for (const auto& old : before.addresses) {
    take(ever[old.address.family == AF_INET6], old.index);
  }
  std::vector<Own*> fresh;
  for (auto& own : addresses) {
    if (own.address == kLinkLocal) {
      own.index = MT_LINK_LOCAL;
    } else if (const auto* old = before.find(own.address)) {
      own.index = old->index;
      take(now[own.address.family == AF_INET6], own.index);
    } else {
      fresh.push_back(&own);
    }
  }
  for (auto* own : fresh) {
    const bool v6 = own->address.family == AF_INET6;
    own->index = lowest_free(now[v6] | ever[v6]);
    if (own->index == MT_FIRST_LEARNED) {
      own->index = lowest_free(now[v6]);
    }
    take(now[v6], own->index);
  }
}

const PortAddresses::Own* PortAddresses::find(const Address& address) const {
  const auto found = std::ranges::find(addresses, address, &Own::address);
  return found == addresses.end() ? nullptr : &*found;
}

const PortAddresses::Own* PortAddresses::find(int family, std::uint32_t index) const {
  const auto found = std::ranges::find_if(addresses, [&](const Own& own) {
    return own.index == index && own.address.family == family;
  });
  return found == addresses.end() ? nullptr : &*found;
}

std::uint32_t PortAddresses::first_v4() const {
  const auto* const own = any_mac || !further_macs.empty() ? nullptr : find(AF_INET, 0);
  std::uint32_t address = 0;
  if (own != nullptr) {
    std::memcpy(&address, own->address.bytes.data(), sizeof(address));
  }
  return address;
}

bool PortAddresses::admits(const Address& address) const {
  return std::ranges::any_of(networks,
                             [&](const auto& network) { return network.contains(address); });
}

bool PortAddresses::has_mac(const MacAddress& own, const MacAddress& mac) const {
  return mac == own || std::ranges::find(further_macs, mac) != further_macs.end();
}

}  // namespace metatap::dataplane
