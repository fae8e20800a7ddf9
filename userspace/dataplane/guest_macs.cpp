// SPDX-License-Identifier: Apache-2.0
#include "dataplane/guest_macs.hpp"

#include <algorithm>
#include <string_view>

#include "sys/link_mac.hpp"

namespace metatap::dataplane {

bool GuestMacs::note(const sys::Link& link) {
  constexpr std::uint8_t kGuestDevice = 0xfe;
  if (const auto known = given_.find(link.index);
      known != given_.end() && known->second == link.mac) {
    return false;
  }
  const bool had = given_.erase(link.index) != 0;
  if (link.mac[0] == kGuestDevice && sys::mac_was_set(link).value_or(false)) {
    given_.emplace(link.index, link.mac);
    return true;
  }
  return had;
}

std::optional<MacAddress> GuestMacs::given(unsigned ifindex) const {
  const auto found = given_.find(ifindex);
  return found == given_.end() ? std::nullopt : std::optional(found->second);
}

bool GuestMacs::fits(const MacAddress& given, const Port& port) {
  const auto is_of = [&](std::string_view text) {
    const auto mac = parse_mac(text);
    return mac && std::equal(mac->begin() + 1, mac->end(), given.begin() + 1);
  };
  return !parse_mac(port.mac_address) || is_of(port.mac_address) ||
         std::ranges::any_of(port.allowed_address_pairs, [&](const AddressPair& pair) {
           return pair.mac_address && is_of(*pair.mac_address);
         });
}

}  // namespace metatap::dataplane
