// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace metatap::sys {
namespace {

struct Message {
  explicit Message(std::uint16_t type, std::uint16_t flags) {
    header = mnl_nlmsg_put_header(bytes.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  }
  template <class T>
  T* extra() {
    return static_cast<T*>(mnl_nlmsg_put_extra_header(header, sizeof(T)));
  }
  void put(std::uint16_t type, const Address& address) {
    mnl_attr_put(header, type, address.size(), address.bytes.data());
  }
  std::array<char, 2048> bytes{};
  nlmsghdr* header = nullptr;
};

/// libmnl's loop macros are C; this is the same walk over attributes in [begin, end).
template <class F>
void for_each_attribute(const void* begin, const void* end, F&& f) {
  const auto* at = static_cast<const char*>(begin);
  const auto* stop = static_cast<const char*>(end);
  while (at < stop) {
    const auto* attribute = static_cast<const nlattr*>(static_cast<const void*>(at));
    if (mnl_attr_ok(attribute, static_cast<int>(stop - at)) == 0) {
      return;
    }
    f(attribute);
    at += MNL_ALIGN(attribute->nla_len);
  }
}

template <class F>
void for_each_attribute(const nlmsghdr* message, std::size_t header, F&& f) {
  for_each_attribute(mnl_nlmsg_get_payload_offset(message, header),
                     mnl_nlmsg_get_payload_tail(message), f);
}

Link to_link(const nlmsghdr* message) {
  const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  Link link;
  link.index = static_cast<unsigned>(info->ifi_index);
  link.up = (info->ifi_flags & IFF_UP) != 0;
  for_each_attribute(message, sizeof(*info), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_IFNAME:
        link.name = mnl_attr_get_str(attribute);
        break;
      case IFLA_MTU:
        link.mtu = mnl_attr_get_u32(attribute);
        break;
      case IFLA_ADDRESS:
        if (mnl_attr_get_payload_len(attribute) == link.mac.size()) {
          std::memcpy(link.mac.data(), mnl_attr_get_payload(attribute), link.mac.size());
        }
        break;
      case IFLA_LINKINFO: {
        const auto* nested = static_cast<const char*>(mnl_attr_get_payload(attribute));
        for_each_attribute(nested, nested + mnl_attr_get_payload_len(attribute),
                           [&](const nlattr* inner) {
                             if (mnl_attr_get_type(inner) == IFLA_INFO_KIND) {
                               link.kind = mnl_attr_get_str(inner);
                             }
                           });
        break;
      }
      default:
        break;
    }
  });
  return link;
}

}  // namespace

void LinkMonitor::Close::operator()(mnl_socket* socket) const {
  mnl_socket_close(socket);
}

Result<Netlink> Netlink::open() {
  auto socket = NetlinkSocket::open(NETLINK_ROUTE, "rtnetlink");
  if (!socket) {
    return tl::make_unexpected(std::move(socket.error()));
  }
  socket->enable(NETLINK_EXT_ACK);
  socket->enable(NETLINK_GET_STRICT_CHK);
  return Netlink(*std::move(socket));
}

Result<std::vector<Link>> Netlink::links() {
  // A dump that was interrupted by a change may lack links, and a device that is taken for gone
  // loses its identity: so there is a whole list or none. Asking again is cheap.
  constexpr int kAttempts = 64;
  std::vector<Link> found;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    found.clear();
    Message message(RTM_GETLINK, NLM_F_DUMP);
    message.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
    bool interrupted = false;
    auto done = socket_.dump(message.header, "list links", [&](const nlmsghdr* received) {
      interrupted |= (received->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (received->nlmsg_type == RTM_NEWLINK) {
        found.push_back(to_link(received));
      }
    });
    if (!done && !interrupted && !(done.error().code == ErrorCode::internal)) {
      return tl::make_unexpected(std::move(done.error()));
    }
    if (done && !interrupted) {
      return found;
    }
  }
  return fail(ErrorCode::unavailable, "list links: links came and went each time they were listed");
}

namespace {

void ask_for_link(Message& message, std::string_view name, unsigned index) {
  auto* info = message.extra<ifinfomsg>();
  info->ifi_family = AF_UNSPEC;
  info->ifi_index = static_cast<int>(index);
  if (index == 0) {
    mnl_attr_put_strz(message.header, IFLA_IFNAME, std::string(name).c_str());
  }
}

}  // namespace

Result<Link> Netlink::link(std::string_view name) {
  if (name.size() >= IFNAMSIZ) {
    return fail(ErrorCode::not_found, "link " + std::string(name) + ": no such device");
  }
  Message message(RTM_GETLINK, NLM_F_ACK);
  ask_for_link(message, name, 0);
  Link found;
  auto done =
      socket_.dump(message.header, "link " + std::string(name), [&](const nlmsghdr* received) {
        if (received->nlmsg_type == RTM_NEWLINK) {
          found = to_link(received);
        }
      });
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found;
}

Result<Link> Netlink::link(unsigned ifindex) {
  Message message(RTM_GETLINK, NLM_F_ACK);
  ask_for_link(message, {}, ifindex);
  Link found;
  auto done =
      socket_.dump(message.header, fmt::format("link {}", ifindex), [&](const nlmsghdr* received) {
        if (received->nlmsg_type == RTM_NEWLINK) {
          found = to_link(received);
        }
      });
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found;
}

Status Netlink::add_veth(const VethEnd& here, const VethEnd& peer, std::optional<int> peer_ns) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(message.header, IFLA_IFNAME, here.name.c_str());
  if (here.mac) {
    mnl_attr_put(message.header, IFLA_ADDRESS, here.mac->size(), here.mac->data());
  }
  nlattr* info = mnl_attr_nest_start(message.header, IFLA_LINKINFO);
  mnl_attr_put_strz(message.header, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(message.header, IFLA_INFO_DATA);
  nlattr* other = mnl_attr_nest_start(message.header, VETH_INFO_PEER);
  message.extra<ifinfomsg>()->ifi_family = AF_UNSPEC;
  mnl_attr_put_strz(message.header, IFLA_IFNAME, peer.name.c_str());
  if (peer.mac) {
    mnl_attr_put(message.header, IFLA_ADDRESS, peer.mac->size(), peer.mac->data());
  }
  if (peer_ns) {
    mnl_attr_put_u32(message.header, IFLA_NET_NS_FD, static_cast<std::uint32_t>(*peer_ns));
  }
  mnl_attr_nest_end(message.header, other);
  mnl_attr_nest_end(message.header, data);
  mnl_attr_nest_end(message.header, info);
  return socket_.transact(message.header, "create veth pair " + here.name + " - " + peer.name);
}

Status Netlink::delete_link(unsigned ifindex) {
  Message message(RTM_DELLINK, 0);
  message.extra<ifinfomsg>()->ifi_index = static_cast<int>(ifindex);
  return socket_.transact(message.header, fmt::format("delete link {}", ifindex));
}

Status Netlink::set_up(unsigned ifindex, bool up) {
  Message message(RTM_NEWLINK, 0);
  auto* info = message.extra<ifinfomsg>();
  info->ifi_index = static_cast<int>(ifindex);
  info->ifi_change = IFF_UP;
  info->ifi_flags = up ? IFF_UP : 0;
  return socket_.transact(message.header,
                          fmt::format("set link {} {}", ifindex, up ? "up" : "down"));
}

Status Netlink::set_mtu(unsigned ifindex, unsigned mtu) {
  Message message(RTM_NEWLINK, 0);
  message.extra<ifinfomsg>()->ifi_index = static_cast<int>(ifindex);
  mnl_attr_put_u32(message.header, IFLA_MTU, mtu);
  return socket_.transact(message.header, fmt::format("set MTU of link {} to {}", ifindex, mtu));
}

Status Netlink::set_mac(unsigned ifindex, const MacAddress& mac) {
  Message message(RTM_NEWLINK, 0);
  message.extra<ifinfomsg>()->ifi_index = static_cast<int>(ifindex);
  mnl_attr_put(message.header, IFLA_ADDRESS, mac.size(), mac.data());
  return socket_.transact(message.header, fmt::format("set MAC of link {}", ifindex));
}

Status Netlink::set_namespace(unsigned ifindex, int namespace_fd) {
  Message message(RTM_NEWLINK, 0);
  message.extra<ifinfomsg>()->ifi_index = static_cast<int>(ifindex);
  mnl_attr_put_u32(message.header, IFLA_NET_NS_FD, static_cast<std::uint32_t>(namespace_fd));
  return socket_.transact(message.header, fmt::format("move link {}", ifindex));
}

Status Netlink::add_address(unsigned ifindex, const Address& address, unsigned prefix) {
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  auto* info = message.extra<ifaddrmsg>();
  info->ifa_family = static_cast<std::uint8_t>(address.family);
  info->ifa_prefixlen = static_cast<std::uint8_t>(prefix);
  info->ifa_index = ifindex;
  info->ifa_scope = address.link_local() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  message.put(IFA_LOCAL, address);
  message.put(IFA_ADDRESS, address);
  if (address.family == AF_INET6) {
    mnl_attr_put_u32(message.header, IFA_FLAGS, IFA_F_NODAD);
  }
  return socket_.transact(message.header, fmt::format("add {}/{}", address.text(), prefix));
}

Status Netlink::delete_address(unsigned ifindex, const Address& address, unsigned prefix) {
  Message message(RTM_DELADDR, 0);
  auto* info = message.extra<ifaddrmsg>();
  info->ifa_family = static_cast<std::uint8_t>(address.family);
  info->ifa_prefixlen = static_cast<std::uint8_t>(prefix);
  info->ifa_index = ifindex;
  message.put(IFA_LOCAL, address);
  return socket_.transact(message.header, fmt::format("delete {}/{}", address.text(), prefix));
}

namespace {

void describe(Message& message, const Route& route) {
  auto* info = message.extra<rtmsg>();
  info->rtm_family = static_cast<std::uint8_t>(route.destination.family);
  info->rtm_dst_len = static_cast<std::uint8_t>(route.prefix);
  info->rtm_table = route.local ? RT_TABLE_LOCAL : RT_TABLE_MAIN;
  info->rtm_protocol = RTPROT_STATIC;
  info->rtm_type = route.local ? RTN_LOCAL : RTN_UNICAST;
  info->rtm_scope = route.local ? RT_SCOPE_HOST : route.gateway ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  if (route.gateway && route.destination.family == AF_INET) {
    info->rtm_flags = RTNH_F_ONLINK;
  }
  message.put(RTA_DST, route.destination);
  if (route.gateway) {
    message.put(RTA_GATEWAY, *route.gateway);
  }
  mnl_attr_put_u32(message.header, RTA_OIF, route.ifindex);
  if (route.mtu != 0) {
    nlattr* metrics = mnl_attr_nest_start(message.header, RTA_METRICS);
    mnl_attr_put_u32(message.header, RTAX_MTU, route.mtu);
    mnl_attr_nest_end(message.header, metrics);
  }
}

}  // namespace

Status Netlink::add_route(const Route& route) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  describe(message, route);
  return socket_.transact(message.header,
                          fmt::format("add route {}/{}", route.destination.text(), route.prefix));
}

Status Netlink::delete_route(const Route& route) {
  Message message(RTM_DELROUTE, 0);
  describe(message, route);
  return socket_.transact(
      message.header, fmt::format("delete route {}/{}", route.destination.text(), route.prefix));
}

Status Netlink::add_neighbour(unsigned ifindex, const Address& address, const MacAddress& mac) {
  Message message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  auto* info = message.extra<ndmsg>();
  info->ndm_family = static_cast<std::uint8_t>(address.family);
  info->ndm_ifindex = static_cast<int>(ifindex);
  info->ndm_state = NUD_PERMANENT;
  message.put(NDA_DST, address);
  mnl_attr_put(message.header, NDA_LLADDR, mac.size(), mac.data());
  return socket_.transact(message.header, "add neighbour " + address.text());
}

Result<Route> Netlink::route_to(const Address& address) {
  const auto step = "ask for the way to " + address.text();
  Message message(RTM_GETROUTE, NLM_F_ACK);
  auto* info = message.extra<rtmsg>();
  info->rtm_family = static_cast<std::uint8_t>(address.family);
  info->rtm_dst_len = static_cast<std::uint8_t>(address.size() * 8);
  message.put(RTA_DST, address);
  std::optional<Route> found;
  auto done = socket_.dump(message.header, step, [&](const nlmsghdr* received) {
    if (received->nlmsg_type != RTM_NEWROUTE) {
      return;
    }
    const auto* way = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(received));
    auto& route = found.emplace();
    route.destination = address;
    route.prefix = way->rtm_dst_len;
    route.local = way->rtm_type == RTN_LOCAL;
    for_each_attribute(received, sizeof(*way), [&](const nlattr* attribute) {
      const auto* payload = static_cast<const char*>(mnl_attr_get_payload(attribute));
      const auto size = mnl_attr_get_payload_len(attribute);
      switch (mnl_attr_get_type(attribute)) {
        case RTA_OIF:
          route.ifindex = mnl_attr_get_u32(attribute);
          break;
        case RTA_GATEWAY:
          if (size == address.size()) {
            auto& gateway = route.gateway.emplace();
            gateway.family = address.family;
            std::memcpy(gateway.bytes.data(), payload, size);
          }
          break;
        case RTA_METRICS:
          for_each_attribute(payload, payload + size, [&](const nlattr* metric) {
            if (mnl_attr_get_type(metric) == RTAX_MTU) {
              route.mtu = mnl_attr_get_u32(metric);
            }
          });
          break;
        default:
          break;
      }
    });
  });
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found ? Result<Route>(*std::move(found)) : fail(ErrorCode::not_found, step);
}

Result<MacAddress> Netlink::permanent_neighbour(unsigned ifindex, const Address& address) {
  const auto step = "ask for neighbour " + address.text();
  Message message(RTM_GETNEIGH, NLM_F_ACK);
  auto* info = message.extra<ndmsg>();
  info->ndm_family = static_cast<std::uint8_t>(address.family);
  info->ndm_ifindex = static_cast<int>(ifindex);
  message.put(NDA_DST, address);
  std::optional<MacAddress> found;
  auto done = socket_.dump(message.header, step, [&](const nlmsghdr* received) {
    const auto* neighbour = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(received));
    if (received->nlmsg_type != RTM_NEWNEIGH || (neighbour->ndm_state & NUD_PERMANENT) == 0) {
      return;
    }
    for_each_attribute(received, sizeof(*neighbour), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == NDA_LLADDR &&
          mnl_attr_get_payload_len(attribute) == sizeof(MacAddress)) {
        std::memcpy(found.emplace().data(), mnl_attr_get_payload(attribute), sizeof(MacAddress));
      }
    });
  });
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found ? Result<MacAddress>(*found) : fail(ErrorCode::not_found, step);
}

Result<std::vector<Netlink::Assigned>> Netlink::addresses() {
  std::vector<Assigned> found;
  Message message(RTM_GETADDR, NLM_F_DUMP);
  message.extra<ifaddrmsg>()->ifa_family = AF_UNSPEC;
  auto done = socket_.dump(message.header, "list addresses", [&](const nlmsghdr* received) {
    if (received->nlmsg_type != RTM_NEWADDR) {
      return;
    }
    const auto* info = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(received));
    Assigned entry;
    entry.ifindex = info->ifa_index;
    entry.prefix = info->ifa_prefixlen;
    entry.tentative = (info->ifa_flags & IFA_F_TENTATIVE) != 0;
    entry.address.family = info->ifa_family;
    bool local = false;
    for_each_attribute(received, sizeof(*info), [&](const nlattr* attribute) {
      const auto type = mnl_attr_get_type(attribute);
      if ((type == IFA_LOCAL || (type == IFA_ADDRESS && !local)) &&
          mnl_attr_get_payload_len(attribute) == entry.address.size()) {
        std::memcpy(entry.address.bytes.data(), mnl_attr_get_payload(attribute),
                    entry.address.size());
        local |= type == IFA_LOCAL;
      }
    });
    found.push_back(entry);
  });
  if (!done) {
    return tl::make_unexpected(std::move(done.error()));
  }
  return found;
}

Result<std::int32_t> Netlink::nsid_of(int namespace_fd) {
  const auto ask = [&]() -> Result<std::int32_t> {
    Message message(RTM_GETNSID, NLM_F_ACK);
    message.extra<rtgenmsg>()->rtgen_family = AF_UNSPEC;
    mnl_attr_put_u32(message.header, NETNSA_FD, static_cast<std::uint32_t>(namespace_fd));
    std::int32_t id = -1;
    auto done =
        socket_.dump(message.header, "ask for a namespace's id", [&](const nlmsghdr* received) {
          for_each_attribute(received, sizeof(rtgenmsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) == NETNSA_NSID) {
              id = static_cast<std::int32_t>(mnl_attr_get_u32(attribute));
            }
          });
        });
    if (!done) {
      return tl::make_unexpected(std::move(done.error()));
    }
    return id;
  };
  auto id = ask();
  if (!id || *id >= 0) {
    return id;
  }
  Message message(RTM_NEWNSID, 0);
  message.extra<rtgenmsg>()->rtgen_family = AF_UNSPEC;
  mnl_attr_put_u32(message.header, NETNSA_FD, static_cast<std::uint32_t>(namespace_fd));
  mnl_attr_put_u32(message.header, NETNSA_NSID, static_cast<std::uint32_t>(-1));
  if (auto given = socket_.transact(message.header, "give a namespace an id");
      !given && given.error().code != ErrorCode::conflict) {
    return tl::make_unexpected(std::move(given.error()));
  }
  id = ask();
  if (id && *id < 0) {
    return fail(ErrorCode::internal, "give a namespace an id: the kernel gave none");
  }
  return id;
}

bool is_filter_change(std::uint16_t type) {
  return type == RTM_DELQDISC || type == RTM_NEWTFILTER || type == RTM_DELTFILTER;
}

Result<LinkMonitor> LinkMonitor::open(Filters filters) {
  LinkMonitor monitor(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!monitor.socket_) {
    return fail_errno(errno, "open rtnetlink");
  }
  // A burst of a thousand devices must fit; beyond that `lost` is reported.
  const int size = 4 << 20;
  ::setsockopt(mnl_socket_get_fd(monitor.socket_.get()), SOL_SOCKET, SO_RCVBUFFORCE, &size,
               sizeof(size));
  const unsigned groups = RTMGRP_LINK | (filters == Filters::yes ? RTMGRP_TC : 0U);
  if (mnl_socket_bind(monitor.socket_.get(), groups, MNL_SOCKET_AUTOPID) < 0) {
    return fail_errno(errno, "subscribe to link events");
  }
  return monitor;
}

int LinkMonitor::fd() const {
  return mnl_socket_get_fd(socket_.get());
}

Result<LinkMonitor::Batch> LinkMonitor::read() {
  Batch batch;
  std::vector<char> buffer(kNetlinkBuffer);
  for (;;) {
    const auto size = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (size < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno == ENOBUFS) {
        batch.lost = true;
        continue;
      }
      if (errno == EAGAIN) {
        return batch;
      }
      return fail_errno(errno, "read link events");
    }
    int left = static_cast<int>(size);
    for (const auto* message = static_cast<const nlmsghdr*>(static_cast<void*>(buffer.data()));
         mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
      // A bridge port's changes come as PF_BRIDGE; a DELLINK there only means it left the bridge.
      if ((message->nlmsg_type == RTM_NEWLINK || message->nlmsg_type == RTM_DELLINK) &&
          info->ifi_family == AF_UNSPEC) {
        batch.events.push_back({to_link(message), message->nlmsg_type == RTM_DELLINK});
      } else if (is_filter_change(message->nlmsg_type)) {
        const auto* tc = static_cast<const tcmsg*>(mnl_nlmsg_get_payload(message));
        batch.filters_changed.insert(static_cast<unsigned>(tc->tcm_ifindex));
      }
    }
  }
}

}  // namespace metatap::sys
