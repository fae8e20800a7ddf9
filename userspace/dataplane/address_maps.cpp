// SPDX-License-Identifier: Apache-2.0
#include "dataplane/address_maps.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <tuple>

namespace metatap::dataplane {
namespace {

std::uint8_t family_of(const Address& address) {
  return address.family == AF_INET ? MT_FAMILY_V4 : MT_FAMILY_V6;
}

mt_address_key address_key(SlotOwner owner, const Address& address) {
  mt_address_key key{
      owner.slot, static_cast<std::uint16_t>(owner.generation), family_of(address), {}};
  std::copy_n(address.bytes.begin(), address.size(), key.address);
  return key;
}

mt_address_key mac_key(SlotOwner owner, const MacAddress& mac) {
  mt_address_key key{owner.slot, static_cast<std::uint16_t>(owner.generation), MT_FAMILY_MAC, {}};
  std::ranges::copy(mac, key.address);
  return key;
}

mt_alias_key alias_key(SlotOwner owner, std::uint8_t family, std::uint32_t index) {
  return {owner.slot, static_cast<std::uint16_t>(owner.generation), family,
          static_cast<std::uint8_t>(index)};
}

mt_prefix_key prefix_key(SlotOwner owner, const Prefix& network) {
  mt_prefix_key key{MT_PREFIX_OF_PORT + network.length,
                    owner.slot,
                    static_cast<std::uint16_t>(owner.generation),
                    family_of(network.address),
                    {}};
  std::copy_n(network.address.bytes.begin(), network.address.size(), key.address);
  return key;
}

Address to_address(std::uint32_t family, const std::uint8_t (&bytes)[16]) {
  Address address{family == MT_FAMILY_V4 ? AF_INET : AF_INET6, {}};
  std::copy_n(bytes, address.size(), address.bytes.begin());
  return address;
}

template <class T>
bool contains(const std::vector<T>& all, const T& one) {
  return std::ranges::find(all, one) != all.end();
}

/// The first failure of several changes, which are all tried.
class First {
 public:
  template <class T>
  void operator()(const Result<T>& result) {
    if (!result && status_) {
      status_ = tl::make_unexpected(result.error());
    }
  }
  Status take() { return std::move(status_); }

 private:
  Status status_;
};

}  // namespace

Status AddressMaps::give(SlotOwner owner, const PortAddresses::Own& own) const {
  const auto key = address_key(owner, own.address);
  const auto place = alias_key(owner, family_of(own.address), own.index);
  mt_alias alias{};
  std::ranges::copy(key.address, alias.address);
  std::ranges::copy(own.mac, alias.mac);
  mt_address address{own.index, {}, 0};
  std::ranges::copy(own.mac, address.mac);
  First failure;
  // Had it been learned, its place in the ring must not take this row with it one day.
  const auto learned = maps_->addresses.get(key);
  failure(learned);
  if (learned && *learned && (*learned)->index >= MT_FIRST_LEARNED) {
    failure(maps_->aliases.erase(alias_key(owner, place.family, (*learned)->index)));
  }
  failure(maps_->aliases.put(place, alias));
  if (!own.address.link_local()) {
    failure(maps_->addresses.put(key, address));
  }
  auto status = failure.take();
  if (!status) {
    return tl::make_unexpected(std::move(status.error()).in(own.address.text()));
  }
  return status;
}

Status AddressMaps::take(SlotOwner owner, const PortAddresses::Own& own) const {
  First failure;
  failure(maps_->addresses.erase(address_key(owner, own.address)));
  failure(maps_->aliases.erase(alias_key(owner, family_of(own.address), own.index)));
  return failure.take();
}

Status AddressMaps::change(SlotOwner owner, const PortAddresses& before,
                           const PortAddresses& after) const {
  if (maps_ == nullptr) {
    return {};
  }
  First failure;
  for (const auto& old : before.addresses) {
    if (const auto* now = after.find(old.address); now == nullptr || now->index != old.index) {
      failure(take(owner, old));
    }
  }
  for (const auto& old : before.further_macs) {
    if (!contains(after.further_macs, old)) {
      failure(maps_->addresses.erase(mac_key(owner, old)));
    }
  }
  for (const auto& old : before.networks) {
    if (!contains(after.networks, old)) {
      failure(maps_->prefixes.erase(prefix_key(owner, old)));
    }
  }
  for (const auto& own : after.addresses) {
    const auto* old = before.find(own.address);
    if (old == nullptr || old->index != own.index || old->mac != own.mac) {
      failure(give(owner, own));
    }
  }
  for (const auto& mac : after.further_macs) {
    if (!contains(before.further_macs, mac)) {
      failure(maps_->addresses.put(mac_key(owner, mac), mt_address{}));
    }
  }
  for (const auto& network : after.networks) {
    if (!contains(before.networks, network)) {
      failure(maps_->prefixes.put(prefix_key(owner, network), 1));
    }
  }
  auto status = failure.take();
  if (!status) {
    return tl::make_unexpected(
        std::move(status.error()).in("addresses of slot " + std::to_string(owner.slot)));
  }
  return status;
}

Status AddressMaps::each_learned(
    SlotOwner owner, const std::function<void(const mt_alias_key&, const mt_alias&)>& use) const {
  if (maps_ == nullptr) {
    return {};
  }
  const auto counter = maps_->counters.get(owner.slot);
  if (!counter || !*counter) {
    return counter ? Status() : tl::make_unexpected(counter.error());
  }
  First failure;
  for (const auto& [family, learned] : {std::pair{MT_FAMILY_V4, (*counter)->learned_v4},
                                        std::pair{MT_FAMILY_V6, (*counter)->learned_v6}}) {
    for (std::uint32_t i = 0; learned != 0 && i < MT_LEARNED_MAX; ++i) {
      const auto place = alias_key(owner, static_cast<std::uint8_t>(family), MT_FIRST_LEARNED + i);
      const auto alias = maps_->aliases.get(place);
      failure(alias);
      if (alias && *alias) {
        use(place, **alias);
      }
    }
  }
  return failure.take();
}

Status AddressMaps::forget_learned(SlotOwner owner,
                                   const std::function<bool(const Address&)>& keep) const {
  First failure;
  failure(each_learned(owner, [&](const mt_alias_key& place, const mt_alias& alias) {
    const auto address = to_address(place.family, alias.address);
    if (keep(address)) {
      return;
    }
    const auto key = address_key(owner, address);
    const auto row = maps_->addresses.get(key);
    failure(row);
    if (row && *row && (*row)->index == place.index) {
      failure(maps_->addresses.erase(key));
    }
    failure(maps_->aliases.erase(place));
  }));
  return failure.take();
}

std::vector<std::pair<Address, MacAddress>> AddressMaps::learned(SlotOwner owner) const {
  std::vector<std::pair<Address, MacAddress>> all;
  (void)each_learned(owner, [&](const mt_alias_key& place, const mt_alias& alias) {
    MacAddress mac{};
    std::ranges::copy(alias.mac, mac.begin());
    all.emplace_back(to_address(place.family, alias.address), mac);
  });
  return all;
}

Result<AddressMaps::Met> AddressMaps::met(SlotOwner owner) const {
  const auto counter = maps_ != nullptr ? maps_->counters.get(owner.slot)
                                        : Result<std::optional<mt_counter>>(std::nullopt);
  if (!counter || !*counter) {
    return counter ? Result<Met>(Met{}) : tl::make_unexpected(counter.error());
  }
  Met all{{}, (*counter)->learned_v4, (*counter)->learned_v6};
  // v6 has one index more, that of fe80::, which is not learned.
  for (const auto& [family, first, learned] : {std::tuple{MT_FAMILY_V4, 0U, all.learned_v4},
                                               std::tuple{MT_FAMILY_V6, 1U, all.learned_v6}}) {
    const std::uint32_t end = first + (learned == 0 ? 0 : MT_UNKNOWN_MAX);
    for (std::uint32_t index = 0; index < end; ++index) {
      const auto alias =
          maps_->aliases.get(alias_key(owner, static_cast<std::uint8_t>(family), index));
      if (!alias) {
        return tl::make_unexpected(alias.error());
      }
      if (*alias) {
        PortAddresses::Own own{to_address(static_cast<std::uint32_t>(family), (*alias)->address)};
        own.index = index;
        std::ranges::copy((*alias)->mac, own.mac.begin());
        all.addresses.addresses.push_back(own);
      } else if (index >= first && index - first < learned) {
        all.whole = false;
      }
    }
  }
  return all;
}

std::optional<Address> AddressMaps::address_of(const Alias& alias, int family) const {
  if (maps_ == nullptr) {
    return std::nullopt;
  }
  const auto key = alias_key({alias.slot, alias.generation},
                             family == AF_INET ? MT_FAMILY_V4 : MT_FAMILY_V6, alias.index);
  const auto row = maps_->aliases.get(key);
  return row && *row ? std::optional(to_address(key.family, (*row)->address)) : std::nullopt;
}

Result<std::map<SlotOwner, PortAddresses>> AddressMaps::read() const {
  std::map<SlotOwner, PortAddresses> all;
  if (maps_ == nullptr) {
    return all;
  }
  First failure;
  // Of an address, mt_aliases has the first row that is written and the last one that goes.
  failure(maps_->aliases.each([&](const mt_alias_key& key, const mt_alias& row) {
    if (key.index < MT_FIRST_LEARNED) {
      MacAddress mac{};
      std::ranges::copy(row.mac, mac.begin());
      all[{key.slot, key.generation}].addresses.push_back(
          {to_address(key.family, row.address), mac, false, key.index});
    }
  }));
  failure(maps_->addresses.each([&](const mt_address_key& key, const mt_address&) {
    if (key.family == MT_FAMILY_MAC) {
      MacAddress mac{};
      std::copy_n(key.address, mac.size(), mac.begin());
      all[{key.slot, key.generation}].further_macs.push_back(mac);
    }
  }));
  failure(maps_->prefixes.each([&](const mt_prefix_key& key, std::uint32_t) {
    all[{key.slot, key.generation}].networks.push_back(
        {to_address(key.family, key.address), key.prefixlen - MT_PREFIX_OF_PORT});
  }));
  if (auto status = failure.take(); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return all;
}

}  // namespace metatap::dataplane
