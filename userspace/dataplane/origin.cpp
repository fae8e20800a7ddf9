// SPDX-License-Identifier: Apache-2.0
#include "metatap/origin.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <tuple>

namespace metatap {
namespace {

auto order(const AddressTable::Known& known) {
  return std::tie(known.address, known.ifindex);
}

}  // namespace

std::optional<PlaceName> PlaceName::of(std::string_view name) {
  constexpr std::string_view kRouter = "qrouter-", kDhcp = "qdhcp-";
  if (name.starts_with(kRouter) && name.size() > kRouter.size()) {
    return PlaceName{Path::router, std::string(name.substr(kRouter.size()))};
  }
  if (name.starts_with(kDhcp) && name.size() > kDhcp.size()) {
    return PlaceName{Path::dhcp, std::string(name.substr(kDhcp.size()))};
  }
  return std::nullopt;
}

void AddressTable::sort() {
  std::ranges::sort(known, {}, order);
}

AddressTable::Tenant AddressTable::find(const Address& address, unsigned ifindex) const {
  const bool local = address.family == AF_INET6 && address.link_local();
  const Known wanted{address, local ? ifindex : 0, {}};
  const auto at = std::ranges::lower_bound(known, order(wanted), {}, order);
  if (at != known.end() && order(*at) == order(wanted)) {
    return at->tenant;
  }
  for (const auto& device : devices) {
    if (local ? device.ifindex == ifindex
              : std::ranges::any_of(device.subnets,
                                    [&](const auto& subnet) { return subnet.contains(address); })) {
      return device.tenant;
    }
  }
  return {};
}

}  // namespace metatap
