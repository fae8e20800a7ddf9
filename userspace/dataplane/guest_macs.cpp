// SPDX-License-Identifier: Apache-2.0
#include "dataplane/guest_macs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "sys/link_mac.hpp"

namespace metatap::dataplane {

void GuestMacs::note(const sys::Link& link) {
  constexpr std::uint8_t kGuestDevice = 0xfe;
  if (const auto known = given_.find(link.index);
      known != given_.end() && known->second == link.mac) {
    return;
  }
  given_.erase(link.index);
  if (link.mac[0] == kGuestDevice && sys::mac_was_set(link).value_or(false)) {
    given_.emplace(link.index, link.mac);
  }
}

std::string GuestMacs::why_foreign(unsigned ifindex, const Port& port) const {
  const auto given = given_.find(ifindex);
  if (given == given_.end()) {
    return {};
  }
  const auto is_of = [&](std::string_view text) {
    const auto mac = sys::parse_mac(text);
    return mac && std::equal(mac->begin() + 1, mac->end(), given->second.begin() + 1);
  };
  const bool fits = !sys::parse_mac(port.mac_address) || is_of(port.mac_address) ||
                    std::ranges::any_of(port.allowed_address_pairs, [&](const AddressPair& pair) {
                      return pair.mac_address && is_of(*pair.mac_address);
                    });
  return fits ? std::string()
              : fmt::format("the device was given {}, which is not for the port's MAC {}",
                            sys::to_string(given->second), port.mac_address);
}

}  // namespace metatap::dataplane
