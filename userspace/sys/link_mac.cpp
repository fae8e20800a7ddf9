// SPDX-License-Identifier: Apache-2.0
#include "sys/link_mac.hpp"

#include <filesystem>
#include <fstream>
#include <string>

namespace metatap::sys {

std::optional<bool> mac_was_set(const Link& link) {
  constexpr int kSet = 3;  // NET_ADDR_SET of linux/netdevice.h
  const auto device = std::filesystem::path("/sys/class/net") / link.name;
  unsigned index = 0;
  std::string address;
  int type = 0;
  if (!(std::ifstream(device / "ifindex") >> index) ||
      !(std::ifstream(device / "address") >> address) ||
      !(std::ifstream(device / "addr_assign_type") >> type) || index != link.index ||
      address != to_string(link.mac)) {
    return std::nullopt;
  }
  return type == kSet;
}

}  // namespace metatap::sys
