// SPDX-License-Identifier: Apache-2.0
#include "dataplane/address_maps.hpp"

#include <bpf/bpf.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace metatap::dataplane {
namespace {

std::uint8_t family_of(const sys::IpAddress& address) {
  return address.family == AF_INET ? MT_FAMILY_V4 : MT_FAMILY_V6;
}

mt_address_key address_key(SlotOwner owner, const sys::IpAddress& address) {
  mt_address_key key{
      owner.slot, static_cast<std::uint16_t>(owner.generation), family_of(address), {}};
  std::copy_n(address.bytes.begin(), address.size(), key.address);
  return key;
}

mt_address_key mac_key(SlotOwner owner, const sys::MacAddress& mac) {
  mt_address_key key{owner.slot, static_cast<std::uint16_t>(owner.generation), MT_FAMILY_MAC, {}};
  std::ranges::copy(mac, key.address);
  return key;
}

mt_alias_key alias_key(SlotOwner owner, std::uint8_t family, std::uint32_t index) {
  return {owner.slot, static_cast<std::uint16_t>(owner.generation), family,
          static_cast<std::uint8_t>(index)};
}

mt_prefix_key prefix_key(SlotOwner owner, const sys::IpNetwork& network) {
  mt_prefix_key key{MT_PREFIX_OF_PORT + network.prefix,
                    owner.slot,
                    static_cast<std::uint16_t>(owner.generation),
                    family_of(network.address),
                    {}};
  std::copy_n(network.address.bytes.begin(), network.address.size(), key.address);
  return key;
}

sys::IpAddress to_address(std::uint32_t family, const std::uint8_t (&bytes)[16]) {
  sys::IpAddress address{family == MT_FAMILY_V4 ? AF_INET : AF_INET6, {}};
  std::copy_n(bytes, address.size(), address.bytes.begin());
  return address;
}

template <class T>
bool contains(const std::vector<T>& all, const T& one) {
  return std::ranges::find(all, one) != all.end();
}

template <class Key, class F>
void each_key(int map, F&& f) {
  Key key{};
  for (const Key* previous = nullptr; ::bpf_map_get_next_key(map, previous, &key) == 0;
       previous = &key) {
    f(key);
  }
}

}  // namespace

Status AddressMaps::give(SlotOwner owner, const PortAddresses::Own& own) const {
  const int addresses = programs_->map("mt_addresses"), aliases = programs_->map("mt_aliases");
  const auto key = address_key(owner, own.address);
  const auto place = alias_key(owner, family_of(own.address), own.index);
  mt_alias alias{};
  std::ranges::copy(key.address, alias.address);
  std::ranges::copy(own.mac, alias.mac);
  mt_address address{own.index, {}, 0};
  std::ranges::copy(own.mac, address.mac);
  // Had it been learned, its place in the ring must not take this row with it one day.
  mt_address learned{};
  if (::bpf_map_lookup_elem(addresses, &key, &learned) == 0 && learned.index >= MT_FIRST_LEARNED) {
    const auto old = alias_key(owner, place.family, learned.index);
    ::bpf_map_delete_elem(aliases, &old);
  }
  if (::bpf_map_update_elem(aliases, &place, &alias, BPF_ANY) != 0 ||
      (!own.address.link_local() &&
       ::bpf_map_update_elem(addresses, &key, &address, BPF_ANY) != 0)) {
    return fail_errno(errno, "write the address " + own.address.text() + " of slot " +
                                 std::to_string(owner.slot));
  }
  return {};
}

void AddressMaps::take(SlotOwner owner, const PortAddresses::Own& own) const {
  const auto key = address_key(owner, own.address);
  const auto place = alias_key(owner, family_of(own.address), own.index);
  ::bpf_map_delete_elem(programs_->map("mt_addresses"), &key);
  ::bpf_map_delete_elem(programs_->map("mt_aliases"), &place);
}

Status AddressMaps::change(SlotOwner owner, const PortAddresses& before,
                           const PortAddresses& after) const {
  if (programs_ == nullptr) {
    return {};
  }
  const int addresses = programs_->map("mt_addresses"), prefixes = programs_->map("mt_prefixes");
  for (const auto& old : before.addresses) {
    if (const auto* now = after.find(old.address); now == nullptr || now->index != old.index) {
      take(owner, old);
    }
  }
  for (const auto& old : before.further_macs) {
    if (!contains(after.further_macs, old)) {
      const auto key = mac_key(owner, old);
      ::bpf_map_delete_elem(addresses, &key);
    }
  }
  for (const auto& old : before.networks) {
    if (!contains(after.networks, old)) {
      const auto key = prefix_key(owner, old);
      ::bpf_map_delete_elem(prefixes, &key);
    }
  }
  const auto failed = [&] {
    return fail_errno(errno, "write the addresses of slot " + std::to_string(owner.slot));
  };
  for (const auto& own : after.addresses) {
    const auto* old = before.find(own.address);
    if (old != nullptr && old->index == own.index && old->mac == own.mac) {
      continue;
    }
    if (auto given = give(owner, own); !given) {
      return given;
    }
  }
  for (const auto& mac : after.further_macs) {
    const auto key = mac_key(owner, mac);
    const mt_address nothing_more{};
    if (!contains(before.further_macs, mac) &&
        ::bpf_map_update_elem(addresses, &key, &nothing_more, BPF_ANY) != 0) {
      return failed();
    }
  }
  for (const auto& network : after.networks) {
    const auto key = prefix_key(owner, network);
    const std::uint32_t yes = 1;
    if (!contains(before.networks, network) &&
        ::bpf_map_update_elem(prefixes, &key, &yes, BPF_ANY) != 0) {
      return failed();
    }
  }
  return {};
}

void AddressMaps::forget_learned(SlotOwner owner,
                                 const std::function<bool(const sys::IpAddress&)>& keep) const {
  mt_counter counter{};
  if (programs_ == nullptr ||
      ::bpf_map_lookup_elem(programs_->map("mt_counters"), &owner.slot, &counter) != 0) {
    return;
  }
  const int addresses = programs_->map("mt_addresses"), aliases = programs_->map("mt_aliases");
  for (const auto& [family, learned] :
       {std::pair{MT_FAMILY_V4, counter.learned_v4}, std::pair{MT_FAMILY_V6, counter.learned_v6}}) {
    for (std::uint32_t i = 0; learned != 0 && i < MT_LEARNED_MAX; ++i) {
      const auto place = alias_key(owner, static_cast<std::uint8_t>(family), MT_FIRST_LEARNED + i);
      mt_alias alias{};
      if (::bpf_map_lookup_elem(aliases, &place, &alias) != 0) {
        continue;
      }
      const auto address = to_address(place.family, alias.address);
      if (keep(address)) {
        continue;
      }
      const auto key = address_key(owner, address);
      mt_address row{};
      if (::bpf_map_lookup_elem(addresses, &key, &row) == 0 && row.index == place.index) {
        ::bpf_map_delete_elem(addresses, &key);
      }
      ::bpf_map_delete_elem(aliases, &place);
    }
  }
}

std::optional<sys::IpAddress> AddressMaps::address_of(const Alias& alias, int family) const {
  const auto key = alias_key({alias.slot, alias.generation},
                             family == AF_INET ? MT_FAMILY_V4 : MT_FAMILY_V6, alias.index);
  mt_alias row{};
  if (programs_ == nullptr ||
      ::bpf_map_lookup_elem(programs_->map("mt_aliases"), &key, &row) != 0) {
    return std::nullopt;
  }
  return to_address(key.family, row.address);
}

std::map<SlotOwner, PortAddresses> AddressMaps::read() const {
  std::map<SlotOwner, PortAddresses> all;
  if (programs_ == nullptr) {
    return all;
  }
  // Of an address, mt_aliases has the first row that is written and the last one that goes.
  const int aliases = programs_->map("mt_aliases");
  each_key<mt_alias_key>(aliases, [&](const mt_alias_key& key) {
    mt_alias row{};
    if (key.index < MT_FIRST_LEARNED && ::bpf_map_lookup_elem(aliases, &key, &row) == 0) {
      sys::MacAddress mac{};
      std::ranges::copy(row.mac, mac.begin());
      all[{key.slot, key.generation}].addresses.push_back(
          {to_address(key.family, row.address), mac, false, key.index});
    }
  });
  each_key<mt_address_key>(programs_->map("mt_addresses"), [&](const mt_address_key& key) {
    if (key.family == MT_FAMILY_MAC) {
      sys::MacAddress mac{};
      std::copy_n(key.address, mac.size(), mac.begin());
      all[{key.slot, key.generation}].further_macs.push_back(mac);
    }
  });
  each_key<mt_prefix_key>(programs_->map("mt_prefixes"), [&](const mt_prefix_key& key) {
    all[{key.slot, key.generation}].networks.push_back(
        {to_address(key.family, key.address), key.prefixlen - MT_PREFIX_OF_PORT});
  });
  return all;
}

}  // namespace metatap::dataplane
