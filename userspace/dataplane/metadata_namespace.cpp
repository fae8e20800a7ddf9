// SPDX-License-Identifier: Apache-2.0
#include "dataplane/metadata_namespace.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "dataplane/guest_socket.hpp"
#include "dataplane/place_settings.hpp"
#include "metatap/abi/abi.h"
#include "sys/lock.hpp"
#include "sys/sysctl.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::string_view kInnerDevice = "metadata";
constexpr std::uint16_t kPort = MT_METADATA_PORT;
/// Answers fit through whatever a tenant's overlay network adds, without path MTU discovery.
constexpr unsigned kRouteMtu = 1400;
constexpr int kBacklog = 4096;

Address address(std::string_view text) {
  return Address::parse(text).value();
}

constexpr unsigned kJumbo = 9216;  // guests may use jumbo frames towards us

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

std::string in_use(std::string_view name) {
  return fmt::format(
      "somebody listens in {}: is another metatapd with the same [dataplane] "
      "namespace running?",
      name);
}

/// One thing that must be so in the namespace or at its door: how it is made so, and how one sees
/// whether it is. In this order, because one rests on another.
struct Duty {
  std::string broken;  ///< said while it is not so
  std::function<bool()> holds;
  std::function<Status()> make;
};

Duty setting(std::string path, std::string value) {
  return {path + " is not " + value,
          [path, value] { return sys::get_sysctl(path).value_or("") == value; },
          [path, value] { return sys::set_sysctl(path, value); }};
}

Duty device_up(sys::Netlink& netlink, const std::string& name, unsigned ifindex) {
  return {name + " is down",
          [&netlink, ifindex] {
            const auto link = netlink.link(ifindex);
            return link && link->up;
          },
          [&netlink, ifindex] { return netlink.set_up(ifindex); }};
}

Duty device_mtu(sys::Netlink& netlink, const std::string& name, unsigned ifindex) {
  return {fmt::format("the MTU of {} is not {}", name, kJumbo),
          [&netlink, ifindex] {
            const auto link = netlink.link(ifindex);
            return link && link->mtu == kJumbo;
          },
          [&netlink, ifindex] { return netlink.set_mtu(ifindex, kJumbo); }};
}

/// That the namespace takes packets to the address as its own is more than that a device has it.
Duty own_address(sys::Netlink& netlink, const Address& own, unsigned prefix, unsigned ifindex) {
  return {own.text() + " is nobody's there",
          [&netlink, own] {
            const auto way = netlink.route_to(own);
            return way && way->local;
          },
          [&netlink, own, prefix, ifindex] {
            // Where a device has it and only its local route is gone, it would be left as it is.
            (void)netlink.delete_address(ifindex, own, prefix);
            return netlink.add_address(ifindex, own, prefix);
          }};
}

Duty neighbour(sys::Netlink& netlink, const Address& gateway, unsigned ifindex) {
  return {gateway.text() + " has no neighbour entry, or a wrong one",
          [&netlink, gateway, ifindex] {
            const auto mac = netlink.permanent_neighbour(ifindex, gateway);
            return mac && *mac == MetadataNamespace::kMetadataMac;
          },
          [&netlink, gateway, ifindex] {
            return netlink.add_neighbour(ifindex, gateway, MetadataNamespace::kMetadataMac);
          }};
}

/// All aliases are behind that neighbour, and answers to them leave by the pair.
Duty way_back(sys::Netlink& netlink, const sys::Route& route) {
  return {
      fmt::format("answers to {}/{} do not take their way", route.destination.text(), route.prefix),
      [&netlink, route] {
        auto anybody = route.destination;
        anybody.bytes[anybody.size() - 1] = 1;
        const auto way = netlink.route_to(anybody);
        return way && !way->local && way->ifindex == route.ifindex &&
               way->gateway == route.gateway && way->mtu == route.mtu;
      },
      [&netlink, route] { return netlink.add_route(route); }};
}

std::vector<Duty> duties_outside(sys::Netlink& netlink, const std::string& name, unsigned ifindex) {
  std::vector<Duty> duties;
  // The host end only ever hands over to mt_return; it has no address and says nothing itself.
  if (const auto quiet = "net/ipv6/conf/" + name + "/disable_ipv6"; sys::get_sysctl(quiet)) {
    duties.push_back(setting(quiet, "1"));
  }
  duties.push_back(device_mtu(netlink, name, ifindex));
  duties.push_back(device_up(netlink, name, ifindex));
  return duties;
}

std::vector<Duty> duties_inside(sys::Netlink& netlink, unsigned lo, unsigned inner, bool v6) {
  const std::string device(kInnerDevice);
  std::vector<Duty> duties;
  for (const auto& [path, value] : kV4) {
    duties.push_back(setting(std::string(path), std::string(value)));
  }
  duties.push_back(device_mtu(netlink, device, inner));
  if (v6) {  // of which a device with a smaller MTU has nothing
    for (const auto& [path, value] : kV6) {
      duties.push_back(setting(std::string(path), std::string(value)));
    }
  }
  duties.push_back(device_up(netlink, "lo", lo));
  duties.push_back(device_up(netlink, device, inner));
  const auto all_behind = [&](const Address& gateway, const Address& aliases, unsigned prefix) {
    duties.push_back(neighbour(netlink, gateway, inner));
    duties.push_back(way_back(netlink, {.destination = aliases,
                                        .prefix = prefix,
                                        .gateway = gateway,
                                        .ifindex = inner,
                                        .mtu = kRouteMtu}));
  };
  duties.push_back(own_address(netlink, address("169.254.169.254"), 32, lo));
  all_behind(address("169.254.169.253"), address("240.0.0.0"), 4);
  if (v6) {
    duties.push_back(own_address(netlink, address("fe80::a9fe:a9fe"), 64, inner));
    all_behind(address("fe80::1"), address("fd6d::"), 16);
  }
  return duties;
}

Status make_all(const std::vector<Duty>& duties) {
  for (const auto& duty : duties) {
    if (auto done = duty.make(); !done) {
      return done;
    }
  }
  return {};
}

/// The kernel finishes some things, IPv6 addresses for one, a moment later.
bool holds_soon(const Duty& duty) {
  for (int times = 0; times < 20; ++times) {
    if (duty.holds()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return duty.holds();
}

void keep_all(const std::vector<Duty>& duties, MetadataNamespace::Upkeep& upkeep) {
  for (const auto& duty : duties) {
    if (duty.holds()) {
      continue;
    }
    upkeep.found.push_back(duty.broken);
    const auto made = duty.make();
    if (!made) {
      upkeep.left.push_back(duty.broken + ": " + made.error().message);
    } else if (!holds_soon(duty)) {
      upkeep.left.push_back(duty.broken + ", although it was set");
    }
  }
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
  if (auto gone = discard(name); !gone) {
    return tl::make_unexpected(std::move(gone.error()).in("metadata namespace"));
  }
  auto ns = sys::NetNamespace::create_named(name);
  if (!ns) {
    return tl::make_unexpected(std::move(ns.error()).in("metadata namespace"));
  }
  if (!sys::lock(ns->fd())) {
    return fail(ErrorCode::conflict, in_use(name));
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

Result<MetadataNamespace> MetadataNamespace::take_over(std::string_view name,
                                                       const GoesOn& goes_on) {
  auto ns = sys::NetNamespace::open(name);
  if (!ns) {
    return tl::make_unexpected(std::move(ns.error()));
  }
  if (!sys::lock(ns->fd())) {
    return fail(ErrorCode::conflict, in_use(name));
  }
  MetadataNamespace taken(*std::move(ns));
  const auto swept = taken.namespace_.run([&] { return destroy_other_aliased_sockets(goes_on); });
  if (!swept || swept->left != 0) {
    return swept ? fail(ErrorCode::unsupported, "sockets of ports that have gone are still there")
                 : tl::make_unexpected(swept.error());
  }
  taken.host_device_ = host_device_of(name);
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()));
  }
  const auto host = netlink->link(taken.host_device_);
  const auto inside = taken.inner_device();
  auto nsid = netlink->nsid_of(taken.namespace_.fd());
  if (!host || !inside || !nsid) {
    return tl::make_unexpected(!host ? host.error() : !inside ? inside.error() : nsid.error());
  }
  taken.host_ifindex_ = host->index;
  taken.inner_ifindex_ = inside->index;
  taken.nsid_ = *nsid;
  taken.has_v6_ = sys::get_sysctl("net/ipv6/conf/all/disable_ipv6").has_value();
  if (const auto upkeep = taken.keep(); !upkeep.left.empty()) {
    return fail(ErrorCode::unavailable, upkeep.left.front());
  }
  return taken;
}

std::uint64_t MetadataNamespace::cookie_of(std::string_view name) {
  const auto ns = sys::NetNamespace::open(name);
  return ns ? ns->run([] { return namespace_cookie(); }).value_or(0) : 0;
}

Status MetadataNamespace::discard(std::string_view name) {
  auto old = sys::NetNamespace::open(name);
  if (!old) {
    return {};
  }
  if (!sys::lock(old->fd())) {
    return fail(ErrorCode::conflict, in_use(name));
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
    return fail(ErrorCode::conflict, in_use(name));
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
  const auto inside = inner_device();
  if (!host || !inside) {
    return tl::make_unexpected(host ? inside.error() : host.error());
  }
  host_ifindex_ = host->index;
  inner_ifindex_ = inside->index;
  auto nsid = netlink->nsid_of(namespace_.fd());
  if (!nsid) {
    return tl::make_unexpected(std::move(nsid.error()));
  }
  nsid_ = *nsid;
  return make_all(duties_outside(*netlink, host_device_, host_ifindex_));
}

Result<sys::Link> MetadataNamespace::inner_device() const {
  return namespace_.run([]() -> Result<sys::Link> {
    auto within = sys::Netlink::open();
    return within ? within->link(kInnerDevice) : tl::make_unexpected(std::move(within.error()));
  });
}

/// The calling thread is inside.
Status MetadataNamespace::configure() {
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()));
  }
  auto loopback = netlink->link("lo");
  if (!loopback) {
    return tl::make_unexpected(std::move(loopback.error()));
  }
  has_v6_ = sys::get_sysctl("net/ipv6/conf/all/disable_ipv6").has_value();
  return make_all(duties_inside(*netlink, loopback->index, inner_ifindex_, has_v6_));
}

/// Both ends where they were made, under their names?
Result<bool> MetadataNamespace::pair_is_whole(sys::Netlink& outside) const {
  const auto host = outside.link(host_ifindex_);
  const auto inside = inner_device();
  for (const auto* end : {&host, &inside}) {
    if (!*end && end->error().code != ErrorCode::not_found) {
      return tl::make_unexpected(end->error());
    }
  }
  return host && inside && host->name == host_device_ && inside->index == inner_ifindex_;
}

Status MetadataNamespace::make_pair_anew() {
  // The end inside is ours whatever became of the other one, which goes with it.
  auto gone = namespace_.run([]() -> Status {
    auto within = sys::Netlink::open();
    if (!within) {
      return tl::make_unexpected(std::move(within.error()));
    }
    const auto left = within->link(kInnerDevice);
    return left ? within->delete_link(left->index) : Status();
  });
  return gone ? make_veth() : gone;
}

MetadataNamespace::Upkeep MetadataNamespace::keep() {
  Upkeep upkeep;
  const auto failed = [&](Error error) {
    upkeep.left.push_back(std::move(error.message));
    return upkeep;
  };
  if (!namespace_.has_name()) {
    upkeep.found.push_back("its name was taken away");
    if (auto named = namespace_.restore_name(); !named) {
      upkeep.left.push_back(std::move(named.error().message));
    }
  }
  auto outside = sys::Netlink::open();
  if (!outside) {
    return failed(std::move(outside.error()));
  }
  const auto whole = pair_is_whole(*outside);
  if (!whole) {
    return failed(whole.error());
  }
  if (!*whole) {
    upkeep.found.push_back(host_device_ + " is gone");
    if (auto made = make_pair_anew(); !made) {
      return failed(std::move(made.error()).in("make it anew"));
    }
  }
  keep_all(duties_outside(*outside, host_device_, host_ifindex_), upkeep);
  const auto inside = namespace_.run([&]() -> Status {
    auto netlink = sys::Netlink::open();
    if (!netlink) {
      return tl::make_unexpected(std::move(netlink.error()));
    }
    const auto loopback = netlink->link("lo");
    if (!loopback) {
      return tl::make_unexpected(loopback.error());
    }
    if (*whole) {
      keep_all(duties_inside(*netlink, loopback->index, inner_ifindex_, has_v6_), upkeep);
      return {};
    }
    return make_all(duties_inside(*netlink, loopback->index, inner_ifindex_, has_v6_));
  });
  return inside ? upkeep : failed(inside.error());
}

Result<sys::ChangeMonitor> MetadataNamespace::watch() const {
  return namespace_.run([] { return sys::ChangeMonitor::open(); });
}

Result<std::size_t> MetadataNamespace::listeners(int family) const {
  return namespace_.run([&]() -> Result<std::size_t> {
    auto diag = sys::SockDiag::open();
    const auto sockets =
        diag ? diag->listeners()
             : Result<std::vector<sys::TcpSocket>>(tl::make_unexpected(std::move(diag.error())));
    if (!sockets) {
      return tl::make_unexpected(sockets.error());
    }
    return std::ranges::count_if(*sockets, [&](const sys::TcpSocket& socket) {
      return socket.local.family == family && socket.local_port == kPort;
    });
  });
}

Address MetadataNamespace::address_of(int family) {
  return family == AF_INET ? metadata_v4() : Address{AF_INET6, {}};
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
