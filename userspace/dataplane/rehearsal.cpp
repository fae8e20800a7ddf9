// SPDX-License-Identifier: Apache-2.0
#include "dataplane/rehearsal.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "dataplane/router_plan.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::uint16_t kPort = 50000;  // any will do: nothing is opened
constexpr std::size_t kStrangersTried = 2;

/// Fixed ones before those of address pairs, and these before learned ones.
std::optional<Address> own_address(const PortSight& port, int family) {
  const KnownAddress* best = nullptr;
  const auto rank = [](const KnownAddress& one) { return one.fixed ? 0 : one.learned ? 2 : 1; };
  for (const auto& one : port.addresses) {
    if (one.address.family == family && !one.address.link_local() &&
        (best == nullptr || rank(one) < rank(*best))) {
      best = &one;
    }
  }
  return best == nullptr ? std::nullopt : std::optional(best->address);
}

/// On a tap it has a link-local address, always; a router's guest may ask from any.
std::optional<Address> source_v6(const PortSight& port) {
  const auto own = port.via == Path::tap ? std::nullopt : own_address(port, AF_INET6);
  return own ? own : std::optional(link_local_of(port.mac));
}

std::optional<Address> source_v4(const PortSight& port) {
  if (const auto own = own_address(port, AF_INET)) {
    return own;
  }
  constexpr auto kMadeUp = "192.0.2.1";  // RFC 5737
  const bool has_another = own_address(port, AF_INET6).has_value();
  return has_another ? std::nullopt : Address::parse(kMadeUp);
}

void add(std::vector<GuestPacket>& packets, const PortSight& port, const MacAddress& mac,
         const Address& source, bool stranger) {
  const FrameEnds ends{mac, MacAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                       static_cast<std::uint16_t>(port.vlan)};
  const bool v4 = source.v4();
  if (port.via == Path::tap) {
    packets.push_back({v4 ? PacketKind::arp : PacketKind::solicitation, source, stranger,
                       v4 ? arp_request(ends, source) : neighbour_solicitation(ends, source)});
  }
  packets.push_back({v4 ? PacketKind::syn_v4 : PacketKind::syn_v6, source, stranger,
                     tcp_segment(ends, source, kPort, TcpFlag::syn)});
}

/// Of a frame that holds an IP packet, perhaps behind a tag that it has lost; none: no packet.
Address source_of(const Frame& frame) {
  constexpr std::size_t kEthernet = 14;
  if (frame.size() < kEthernet) {
    return {};
  }
  const bool v4 = frame[12] == 0x08 && frame[13] == 0x00;
  const bool v6 = frame[12] == 0x86 && frame[13] == 0xdd;
  Address source{v4 ? AF_INET : AF_INET6, {}};
  const std::size_t at = kEthernet + (v4 ? 12 : 8);
  if ((!v4 && !v6) || frame.size() < at + source.size()) {
    return {};
  }
  std::copy_n(frame.begin() + static_cast<std::ptrdiff_t>(at), source.size(), source.bytes.begin());
  return source;
}

}  // namespace

std::string_view name_of(PacketKind kind) {
  switch (kind) {
    case PacketKind::arp:
      return "ARP request";
    case PacketKind::syn_v4:
      return "IPv4 SYN";
    case PacketKind::solicitation:
      return "neighbour solicitation";
    case PacketKind::syn_v6:
      break;
  }
  return "IPv6 SYN";
}

std::vector<GuestPacket> first_packets(const PortSight& port,
                                       const std::vector<Sighting>& strangers) {
  std::vector<GuestPacket> packets;
  if (const auto source = source_v4(port)) {
    add(packets, port, port.mac, *source, false);
  }
  if (const auto source = port.v6 ? source_v6(port) : std::nullopt) {
    add(packets, port, port.mac, *source, false);
  }
  for (const auto& seen : strangers) {
    if (packets.size() < 4 * (kStrangersTried + 1) && seen.source.family != 0) {
      add(packets, port, seen.mac, seen.source, true);
    }
  }
  return packets;
}

Result<std::vector<Rehearsed>> rehearse(const DryRun& programs, const PortSight& port,
                                        const std::vector<Sighting>& strangers) {
  std::vector<Rehearsed> all;
  const auto* const program = port.via == Path::tap ? "mt_tap" : "mt_router";
  for (auto& packet : first_packets(port, strangers)) {
    auto outcome = programs.run(program, port.ifindex, packet.frame);
    if (!outcome) {
      return tl::make_unexpected(std::move(outcome.error()));
    }
    const auto became = source_of(outcome->frame);
    all.push_back({std::move(packet), *std::move(outcome), became});
  }
  return all;
}

}  // namespace metatap::dataplane
