// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_resolver.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

namespace metatap::dataplane {
Address address_of(const sockaddr_storage& peer) {
  Address address;
  if (peer.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &peer, sizeof(v4));
    address.family = AF_INET;
    std::memcpy(address.bytes.data(), &v4.sin_addr, 4);
    return address;
  }
  sockaddr_in6 v6{};
  std::memcpy(&v6, &peer, sizeof(v6));
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    address.family = AF_INET;
    std::memcpy(address.bytes.data(), v6.sin6_addr.s6_addr + 12, 4);
  } else {
    address.family = AF_INET6;
    std::memcpy(address.bytes.data(), v6.sin6_addr.s6_addr, 16);
  }
  return address;
}

Caller MarkResolver::caller_of(int accepted_fd, const sockaddr_storage& peer) const {
  std::uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  if (::getsockopt(accepted_fd, SOL_SOCKET, SO_MARK, &mark, &size) != 0) {
    return {};
  }
  return caller_of(address_of(peer), mark);
}

Caller MarkResolver::caller_of(Address address, std::uint32_t mark) const {
  const std::uint32_t slot = mark & MT_TAG_MASK;
  const auto entry = slot < MT_TAG_LOWEST ? nullptr : slots_->find(slot);
  if (!entry || entry->origin->path != place_.path) {
    return {};
  }
  const auto& origin = entry->origin;
  if ((place_.path == Path::router ? origin->router_id : origin->network_id) != place_.id) {
    return {};
  }
  if (address.link_local() && address.family == AF_INET6 && !origin->port_id.empty()) {
    MacAddress mac{};
    std::copy_n(entry->row.mac, mac.size(), mac.begin());
    address = link_local_of(mac);
  }
  return {origin, address.text()};
}

Caller AddressResolver::caller_of(int, const sockaddr_storage& peer) const {
  unsigned ifindex = 0;
  if (peer.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &peer, sizeof(v6));
    ifindex = v6.sin6_scope_id;
  }
  return caller_at(address_of(peer), ifindex);
}

Caller AddressResolver::caller_at(const Address& address, unsigned ifindex) const {
  const auto tenant = table_.get()->find(address, ifindex);
  const auto entry = slots_->find(tenant.slot);
  if (!entry || entry->origin->owner != tenant.owner) {
    return {};
  }
  return {entry->origin, address.text()};
}

}  // namespace metatap::dataplane
