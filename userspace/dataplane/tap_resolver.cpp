// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tap_resolver.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "dataplane/alias.hpp"

namespace metatap::dataplane {

Caller TapResolver::caller_of(int accepted_fd, const sockaddr_storage& peer) const {
  sys::IpAddress address{peer.ss_family, {}};
  if (peer.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &peer, sizeof(v4));
    std::memcpy(address.bytes.data(), &v4.sin_addr, sizeof(v4.sin_addr));
  } else if (peer.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &peer, sizeof(v6));
    std::memcpy(address.bytes.data(), &v6.sin6_addr, sizeof(v6.sin6_addr));
  } else {
    return {};
  }
  const auto alias = Alias::of(address);
  if (!alias) {
    return {};
  }
  const auto entry = slots_->find(alias->slot);
  if (!entry || entry->row.kind != MT_KIND_TAP) {
    return {};
  }
  std::uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  if (::getsockopt(accepted_fd, SOL_SOCKET, SO_MARK, &mark, &size) != 0 || mark != alias->slot) {
    return {};
  }
  auto guest = Alias::resolve(address, entry->row);
  if ((entry->row.flags & MT_SLOT_LEARN) != 0) {
    // Learned addresses are only in the kernel's row.
    if (const auto row = slots_->read(alias->slot)) {
      guest = Alias::resolve(address, *row);
    }
  }
  if (!guest) {
    return {};
  }
  if (guest->link_local() && !entry->first_address.empty()) {
    return {entry->origin, entry->first_address};
  }
  return {entry->origin, guest->text()};
}

}  // namespace metatap::dataplane
