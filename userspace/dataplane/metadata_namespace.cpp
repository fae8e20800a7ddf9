// SPDX-License-Identifier: Apache-2.0
#include "dataplane/metadata_namespace.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "metatap/abi/abi.h"
#include "sys/sysctl.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::string_view kInnerDevice = "metadata";
constexpr MacAddress kInnerMac = {0xfe, 0x16, 0x3e, 0xa9, 0xfe, 0xaa};
constexpr std::uint16_t kPort = MT_METADATA_PORT;
/// Answers fit through whatever a tenant's overlay network adds, without path MTU discovery.
constexpr unsigned kRouteMtu = 1400;
constexpr int kBacklog = 4096;

Address address(std::string_view text) {
  return Address::parse(text).value();
}

using Setting = std::pair<std::string_view, std::string_view>;

// A new namespace may inherit the host's settings; each that matters is set here.
constexpr Setting kV4[] = {
    {"net/ipv4/tcp_fwmark_accept", "1"},  // the tag reaches the accepted socket
    {"net/ipv4/ip_forward", "0"},
    {"net/ipv4/conf/all/rp_filter", "0"},
    {"net/ipv4/conf/metadata/rp_filter", "0"},
    {"net/ipv4/conf/metadata/accept_redirects", "0"},
    {"net/ipv4/conf/all/send_redirects", "0"},
    {"net/ipv4/conf/all/accept_source_route", "0"},
    {"net/core/somaxconn", "4096"},
    {"net/ipv4/tcp_max_syn_backlog", "4096"},
    {"net/ipv4/tcp_syncookies", "1"},
    {"net/ipv4/icmp_echo_ignore_all", "0"},
};
constexpr Setting kV6[] = {
    {"net/ipv6/conf/all/disable_ipv6", "0"},       {"net/ipv6/conf/metadata/disable_ipv6", "0"},
    {"net/ipv6/conf/all/forwarding", "0"},         {"net/ipv6/conf/metadata/accept_ra", "0"},
    {"net/ipv6/conf/metadata/autoconf", "0"},      {"net/ipv6/conf/metadata/accept_redirects", "0"},
    {"net/ipv6/conf/metadata/addr_gen_mode", "1"},
};

Status apply(std::span<const Setting> settings) {
  for (const auto& [path, value] : settings) {
    if (auto done = sys::set_sysctl(path, value); !done) {
      return done;
    }
  }
  return {};
}

}  // namespace

std::string MetadataNamespace::host_device_of(std::string_view name) {
  if (name.size() <= 12) {
    return "mt-" + std::string(name);
  }
  std::uint32_t hash = 2166136261U;  // FNV-1a: the same in every process
  for (const char c : name) {
    hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619U;
  }
  return fmt::format("mt-{}{:06x}", name.substr(0, 6), hash & 0xffffffU);
}

Result<MetadataNamespace> MetadataNamespace::create(std::string_view name) {
  if (auto gone = discard_leftover(name); !gone) {
    return tl::make_unexpected(std::move(gone.error()).in("metadata namespace"));
  }
  auto ns = sys::NetNamespace::create_named(name);
  if (!ns) {
    return tl::make_unexpected(std::move(ns.error()).in("metadata namespace"));
  }
  MetadataNamespace made(*std::move(ns));
  made.host_device_ = host_device_of(name);
  if (auto done = made.make_veth(); !done) {
    return tl::make_unexpected(std::move(done.error()).in("metadata namespace"));
  }
  if (auto done = made.namespace_.run([&] { return made.configure(); }); !done) {
    return tl::make_unexpected(std::move(done.error()).in("metadata namespace"));
  }
  return made;
}

Status MetadataNamespace::discard_leftover(std::string_view name) {
  auto old = sys::NetNamespace::open(name);
  if (!old) {
    return {};
  }
  const auto alive = old->run([]() -> Result<bool> {
    auto diag = sys::SockDiag::open();
    const auto sockets =
        diag ? diag->tcp_sockets()
             : Result<std::vector<sys::TcpSocket>>(tl::make_unexpected(std::move(diag.error())));
    if (!sockets) {
      return tl::make_unexpected(sockets.error());
    }
    return std::ranges::any_of(*sockets, &sys::TcpSocket::listening);
  });
  if (!alive) {
    log::warn("metadata namespace: {}; whether another process serves {} is not known",
              alive.error().message, name);
  } else if (*alive) {
    return fail(ErrorCode::conflict, fmt::format("somebody listens in {}: is another metatapd with "
                                                 "the same [dataplane] namespace running?",
                                                 name));
  }
  // In this order: with the pair gone nothing leaves the namespace any more, not even a reset.
  auto removed = remove_named(name);
  (void)old->run([]() -> Status {
    auto diag = sys::SockDiag::open();
    if (diag) {
      (void)diag->sweep([](const auto&) { return true; });
    }
    return {};
  });
  return removed;
}

Status MetadataNamespace::make_veth() {
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()));
  }
  // An end of that name whose other end is gone, or in a namespace whose name is.
  if (const auto host = netlink->link(host_device_)) {
    if (auto deleted = netlink->delete_link(host->index); !deleted) {
      return deleted;
    }
  }
  if (auto made = netlink->add_veth({host_device_, kMetadataMac},
                                    {std::string(kInnerDevice), kInnerMac}, namespace_.fd());
      !made) {
    return made;
  }
  const auto host = netlink->link(host_device_);
  const auto inside = namespace_.run([]() -> Result<sys::Link> {
    auto within = sys::Netlink::open();
    return within ? within->link(kInnerDevice) : tl::make_unexpected(std::move(within.error()));
  });
  if (!host || !inside) {
    return tl::make_unexpected(host ? inside.error() : host.error());
  }
  host_ifindex_ = host->index;
  inner_ifindex_ = inside->index;
  // The host end only ever hands over to mt_return; it has no address and says nothing itself.
  (void)sys::set_sysctl("net/ipv6/conf/" + host_device_ + "/disable_ipv6", "1");
  // Guests may use jumbo frames towards us.
  (void)netlink->set_mtu(host_ifindex_, 9216);
  if (auto up = netlink->set_up(host_ifindex_); !up) {
    return up;
  }
  auto nsid = netlink->nsid_of(namespace_.fd());
  if (!nsid) {
    return tl::make_unexpected(std::move(nsid.error()));
  }
  nsid_ = *nsid;
  return {};
}

Status MetadataNamespace::configure() {
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()));
  }
  auto loopback = netlink->link("lo");
  if (!loopback) {
    return tl::make_unexpected(std::move(loopback.error()));
  }
  if (auto set = apply(kV4); !set) {
    return set;
  }
  has_v6_ = apply(kV6).has_value();
  const auto gateway_v4 = address("169.254.169.253");
  const auto gateway_v6 = address("fe80::1");
  Status status;
  const auto then = [&](auto&& step) {
    if (status) {
      status = step();
    }
  };
  then([&] { return netlink->set_up(loopback->index); });
  then([&] { return netlink->set_mtu(inner_ifindex_, 9216); });
  then([&] { return netlink->set_up(inner_ifindex_); });
  then([&] { return netlink->add_address(loopback->index, address("169.254.169.254"), 32); });
  then([&] { return netlink->add_neighbour(inner_ifindex_, gateway_v4, kMetadataMac); });
  then([&] {
    return netlink->add_route({.destination = address("240.0.0.0"),
                               .prefix = 4,
                               .gateway = gateway_v4,
                               .ifindex = inner_ifindex_,
                               .mtu = kRouteMtu});
  });
  if (has_v6_) {
    then([&] { return netlink->add_address(inner_ifindex_, address("fe80::a9fe:a9fe"), 64); });
    then([&] { return netlink->add_neighbour(inner_ifindex_, gateway_v6, kMetadataMac); });
    then([&] {
      return netlink->add_route({.destination = address("fd6d::"),
                                 .prefix = 16,
                                 .gateway = gateway_v6,
                                 .ifindex = inner_ifindex_,
                                 .mtu = kRouteMtu});
    });
  }
  return status;
}

Result<UniqueFd> MetadataNamespace::listen(int family) const {
  return namespace_.run([&]() -> Result<UniqueFd> {
    const std::string step = family == AF_INET ? "listen on 169.254.169.254:80 in " + name()
                                               : "listen on [fe80::a9fe:a9fe]:80 in " + name();
    UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int on = 1;
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0) {
      return fail_errno(errno, step);
    }
    int bound = 0;
    if (family == AF_INET) {
      sockaddr_in local{};
      local.sin_family = AF_INET;
      local.sin_port = htons(kPort);
      local.sin_addr.s_addr = htonl(0xa9fea9feU);
      bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local));
    } else {
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
      sockaddr_in6 local{};
      local.sin6_family = AF_INET6;
      local.sin6_port = htons(kPort);
      bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof(local));
    }
    if (bound != 0 || ::listen(fd.get(), kBacklog) != 0) {
      return fail_errno(errno, step);
    }
    return fd;
  });
}

Result<sys::SockDiag::Swept> MetadataNamespace::destroy_sockets_of(const SlotNumbers& slots) const {
  return namespace_.run([&] { return destroy_aliased_sockets(slots); });
}

Status MetadataNamespace::remove() {
  return remove_named(name());
}

Status MetadataNamespace::remove_named(std::string_view name) {
  auto netlink = sys::Netlink::open();
  if (netlink) {
    if (const auto host = netlink->link(host_device_of(name))) {
      if (auto deleted = netlink->delete_link(host->index); !deleted) {
        return deleted;
      }
    }
  }
  return sys::NetNamespace::delete_named(name);
}

}  // namespace metatap::dataplane
