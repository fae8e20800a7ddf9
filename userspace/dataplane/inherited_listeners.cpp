// SPDX-License-Identifier: Apache-2.0
#include "dataplane/inherited_listeners.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "metatap/abi/abi.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace metatap::dataplane {
namespace {

template <class T>
std::optional<T> option(int socket, int name) {
  T value{};
  socklen_t size = sizeof(value);
  if (::getsockopt(socket, SOL_SOCKET, name, &value, &size) != 0 || size != sizeof(value)) {
    return std::nullopt;
  }
  return value;
}

struct Bound {
  Address address;
  std::uint16_t port = 0;
  unsigned ifindex = 0;
};

std::optional<Bound> bound_to(int socket) {
  sockaddr_storage local{};
  socklen_t size = sizeof(local);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&local), &size) != 0) {
    return std::nullopt;
  }
  Bound bound;
  bound.address.family = local.ss_family;
  if (local.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &local, sizeof(v4));
    std::memcpy(bound.address.bytes.data(), &v4.sin_addr, sizeof(v4.sin_addr));
    bound.port = ntohs(v4.sin_port);
  } else if (local.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &local, sizeof(v6));
    std::memcpy(bound.address.bytes.data(), &v6.sin6_addr, sizeof(v6.sin6_addr));
    bound.port = ntohs(v6.sin6_port);
    bound.ifindex = v6.sin6_scope_id;
  } else {
    return std::nullopt;
  }
  return bound;
}

}  // namespace

void InheritedListeners::add(UniqueFd socket) {
  const int fd = socket.get();
  const auto bound = bound_to(fd);
  const auto number = option<std::uint64_t>(fd, SO_COOKIE);
  const auto cookie = option<std::uint64_t>(fd, SO_NETNS_COOKIE);
  if (!bound || !number || !cookie || bound->port != MT_METADATA_PORT ||
      option<int>(fd, SO_PROTOCOL) != IPPROTO_TCP || option<int>(fd, SO_ACCEPTCONN) != 1 ||
      std::ranges::find(all_, *number, &Listener::socket) != all_.end()) {
    return;
  }
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  all_.push_back({std::move(socket), *number, *cookie, bound->address, bound->ifindex});
}

bool InheritedListeners::any_in(std::uint64_t cookie) const {
  return std::ranges::find(all_, cookie, &Listener::cookie) != all_.end();
}

UniqueFd InheritedListeners::take(std::uint64_t cookie, const Address& address, unsigned ifindex) {
  const auto found = std::ranges::find_if(all_, [&](const Listener& one) {
    return one.cookie == cookie && one.address == address && one.ifindex == ifindex;
  });
  if (found == all_.end()) {
    return {};
  }
  UniqueFd fd = std::move(found->fd);
  all_.erase(found);
  return fd;
}

void InheritedListeners::end_all() {
  end([](const Listener&) { return true; });
}

void InheritedListeners::end_in(std::uint64_t cookie) {
  end([&](const Listener& one) { return one.cookie == cookie; });
}

void InheritedListeners::end(const std::function<bool(const Listener&)>& which) {
  std::erase_if(all_, [&](const Listener& one) {
    if (!which(one)) {
      return false;
    }
    ::shutdown(one.fd.get(), SHUT_RDWR);
    return true;
  });
}

}  // namespace metatap::dataplane
