// SPDX-License-Identifier: Apache-2.0
#include "dataplane/guest_socket.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "metatap/abi/abi.h"

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

namespace metatap::dataplane {
namespace {

constexpr int kBacklog = 4096;

Address v4(std::uint32_t host_order) {
  Address address;
  address.family = AF_INET;
  const auto network = htonl(host_order);
  std::memcpy(address.bytes.data(), &network, sizeof(network));
  return address;
}

Address v6(const std::array<std::uint32_t, 4>& words) {
  Address address;
  address.family = AF_INET6;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto network = htonl(words[i]);
    std::memcpy(address.bytes.data() + 4 * i, &network, sizeof(network));
  }
  return address;
}

}  // namespace

Address inner_v4() {
  return v4(MT_INNER_V4);
}

Address inner_v6() {
  return v6({MT_INNER_V6_0, MT_INNER_V6_1, MT_INNER_V6_2, MT_INNER_V6_3});
}

Address metadata_v4() {
  return v4(0xa9fea9feU);
}

Address metadata_v6() {
  return v6({0xfe800000U, 0, 0, 0xa9fea9feU});
}

Status take_over_guest_socket(int fd, const GuestSocket& wanted) {
  if (wanted.filter >= 0 &&
      ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &wanted.filter, sizeof(wanted.filter)) != 0) {
    return fail_errno(errno, "attach a listener's filter");
  }
  return {};
}

Result<UniqueFd> open_guest_socket(const GuestSocket& wanted) {
  const int on = 1;
  const auto step = fmt::format("listen on {}:{}", wanted.address.text(), MT_METADATA_PORT);
  UniqueFd fd(::socket(wanted.address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return fail_errno(errno, step);
  }
  int bound = 0;
  if (wanted.address.family == AF_INET) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(MT_METADATA_PORT);
    std::memcpy(&address.sin_addr, wanted.address.bytes.data(), 4);
    bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  } else {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(MT_METADATA_PORT);
    address.sin6_scope_id = wanted.ifindex;
    std::memcpy(&address.sin6_addr, wanted.address.bytes.data(), 16);
    // v6 wants the address on a device; ours is only a route.
    if (::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0 ||
        ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)) != 0) {
      return fail_errno(errno, step);
    }
    bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  }
  if (bound != 0) {
    return fail_errno(errno, step);
  }
  if (auto filtered = take_over_guest_socket(fd.get(), wanted); !filtered) {
    return tl::make_unexpected(std::move(filtered.error()).in(step));
  }
  if (::listen(fd.get(), kBacklog) != 0) {
    return fail_errno(errno, step);
  }
  return fd;
}

}  // namespace metatap::dataplane
