// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tap_resolver.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "dataplane/alias.hpp"

namespace metatap::dataplane {

Caller TapResolver::caller_of(int accepted_fd, const sockaddr_storage& peer) const {
  std::uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  if (::getsockopt(accepted_fd, SOL_SOCKET, SO_MARK, &mark, &size) != 0) {
    return {};
  }
  Address address{peer.ss_family, {}};
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
  return caller_of(address, mark);
}

Caller TapResolver::caller_of(const Address& peer, std::uint32_t mark) const {
  const auto alias = Alias::of(peer);
  if (!alias || mark != alias->slot) {
    return {};
  }
  const auto entry = slots_->find(alias->slot);
  if (!entry || entry->row.kind != MT_KIND_TAP || entry->row.generation != alias->generation) {
    return {};
  }
  if (entry->origin->unknown()) {
    return {entry->origin, {}, true};  // its addresses are nobody's yet
  }
  const auto& port = entry->addresses;
  const auto* own = port.find(peer.family, alias->index);
  if (own != nullptr && own->fixed) {
    return {entry->origin, own->address.text()};
  }
  if (!port.first_fixed.empty()) {
    return {entry->origin, port.first_fixed};
  }
  auto chosen = own != nullptr ? std::optional(own->address)
                : learned_     ? learned_->address_of(*alias, peer.family)
                               : std::nullopt;
  if (!chosen) {
    return {};
  }
  if (peer.family == AF_INET6 && alias->index == MT_LINK_LOCAL) {
    std::copy_n(&peer.bytes[8], 8, &chosen->bytes[8]);
  }
  return {entry->origin, chosen->text(), true};
}

}  // namespace metatap::dataplane
