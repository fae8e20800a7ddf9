// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/address.hpp"
#include "metatap/result.hpp"
#include "sys/netlink_socket.hpp"

struct mnl_socket;

namespace metatap::sys {

struct Link {
  unsigned index = 0;
  std::string name, kind;  ///< kind: "veth", "tun", empty for plain devices
  MacAddress mac{};
  unsigned mtu = 0;
  bool up = false;
  bool operator==(const Link&) const = default;
};

struct LinkEvent {
  Link link;
  bool removed = false;
};

struct Route {
  Address destination;
  unsigned prefix = 0;
  std::optional<Address> gateway;  ///< taken as on-link
  unsigned ifindex = 0;
  unsigned mtu = 0;    ///< 0: the device's
  bool local = false;  ///< `ip route add local … dev lo`
};

/// One rtnetlink socket in the namespace the calling thread was in at open(). It stays there, so
/// it is opened inside NetNamespace::run() and used from anywhere, by one thread at a time.
/// Calls block for the kernel's answer. "add" of what exists already is success where it is
/// the same thing.
class Netlink {
 public:
  static Result<Netlink> open();

  [[nodiscard]] Result<std::vector<Link>> links();
  [[nodiscard]] Result<Link> link(std::string_view name);  ///< ErrorCode::not_found
  [[nodiscard]] Result<Link> link(unsigned ifindex);

  /// The peer is made in the namespace `peer_ns` when that is an fd.
  struct VethEnd {
    std::string name;
    std::optional<MacAddress> mac;
  };
  Status add_veth(const VethEnd& here, const VethEnd& peer, std::optional<int> peer_ns = {});
  Status delete_link(unsigned ifindex);
  Status set_up(unsigned ifindex, bool up = true);
  Status set_mtu(unsigned ifindex, unsigned mtu);
  Status set_mac(unsigned ifindex, const MacAddress& mac);
  Status set_namespace(unsigned ifindex, int namespace_fd);

  /// v6 addresses are added without duplicate address detection.
  Status add_address(unsigned ifindex, const Address& address, unsigned prefix);
  Status delete_address(unsigned ifindex, const Address& address, unsigned prefix);
  Status add_route(const Route& route);
  Status delete_route(const Route& route);
  Status add_neighbour(unsigned ifindex, const Address& address, const MacAddress& mac);
  /// The way that a packet to `address` would take, rules and all (`ip route get`): as `Route`, of
  /// which `destination` is the address itself. An error: there is none.
  [[nodiscard]] Result<Route> route_to(const Address& address);
  /// The MAC of a permanent neighbour; ErrorCode::not_found: there is no such one.
  [[nodiscard]] Result<MacAddress> permanent_neighbour(unsigned ifindex, const Address& address);

  /// An address that a device has.
  struct Assigned {
    unsigned ifindex = 0;
    Address address;
    unsigned prefix = 0;
    bool tentative = false;
  };
  [[nodiscard]] Result<std::vector<Assigned>> addresses();

  /// The number by which this namespace knows another one; one is given if there is none.
  [[nodiscard]] Result<std::int32_t> nsid_of(int namespace_fd);

  /// For requests that have no name here.
  [[nodiscard]] NetlinkSocket& socket() { return socket_; }

 private:
  explicit Netlink(NetlinkSocket socket) : socket_(std::move(socket)) {}

  NetlinkSocket socket_;
};

/// Is that message about a filter that came or went, perhaps with its qdisc? RTM_NEWQDISC is not:
/// a new one has no filters yet, and the kernel sends it to all listeners whenever anybody asks
/// for one, so who asks at each of them would never come to an end.
[[nodiscard]] bool is_filter_change(std::uint16_t type);

/// RTM_NEWLINK and RTM_DELLINK of one namespace (of the thread that opened it), and on demand
/// changes of its filters, in one order. Non-blocking; give fd() to a posix::stream_descriptor and
/// read when readable. Events are hints: after an overrun (`lost`), or whenever in doubt, dump
/// links.
class LinkMonitor {
 public:
  enum class Filters : bool { no, yes };
  static Result<LinkMonitor> open(Filters filters = Filters::no);

  [[nodiscard]] int fd() const;
  /// All that waits now.
  struct Batch {
    std::vector<LinkEvent> events;
    std::set<unsigned> filters_changed;  ///< ifindexes, as they are after `events`
    bool lost = false;
  };
  [[nodiscard]] Result<Batch> read();

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit LinkMonitor(mnl_socket* socket) : socket_(socket) {}
  std::unique_ptr<mnl_socket, Close> socket_;
};

}  // namespace metatap::sys
