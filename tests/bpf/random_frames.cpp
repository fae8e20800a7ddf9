// SPDX-License-Identifier: Apache-2.0
#include "bpf/random_frames.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace metatap::testing {
namespace {

constexpr std::array<std::string_view, 4> kStrangeMacs{"52:54:00:00:00:66", "33:33:00:00:00:01",
                                                       "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"};
/// Nobody's, everybody's, the metadata address itself, aliases and the inner address.
constexpr std::array<std::string_view, 9> kStrange4{
    "0.0.0.0",   "255.255.255.255", "224.0.0.1",      "169.254.169.254", "127.0.0.1",
    "240.0.0.0", "240.0.83.0",      "240.254.98.254", "192.0.2.9"};
constexpr std::array<std::string_view, 9> kStrange6{
    "::",       "ff02::1",         "::1",
    "fe80::77", "fe80::a9fe:a9fe", "fd6d:0:5300:1::5",
    "fd6d::1",  "::ffff:10.0.0.5", "fd6d:6574:6174:6170:d8b9:0:a9fe:a9fe"};
constexpr std::string_view kSolicitedNode = "ff02::1:fffe:a9fe";
constexpr std::string_view kNoMac = "00:00:00:00:00:00";

constexpr std::size_t kType = 12;   // where the EtherType is
constexpr std::size_t kLeast = 15;  // the kernel takes no frame without a byte behind it

}  // namespace

Bytes RandomFrames::any_bytes(std::size_t size) {
  Bytes bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::uint8_t>(random_()); });
  return bytes;
}

Bytes RandomFrames::request(const Addresses& world) {
  auto frame = link(world, true);
  const Ends v4{one_in(4) ? any(kStrange4) : any(world.v4),
                one_in(8) ? any(kStrange4) : world.to_v4};
  const Ends v6{one_in(4) ? any(kStrange6) : any(world.v6),
                one_in(8) ? any(kStrange6) : world.to_v6};
  switch (below(16)) {
    case 0:
      arp(frame, world, v4);
      break;
    case 1:
      solicitation(frame, world, v6);
      break;
    case 2:
      frame.payload(any_bytes(1 + below(80)));
      break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
      ipv4(frame, v4);
      break;
    default:
      ipv6(frame, v6);
  }
  return spoilt(frame.bytes());
}

Bytes RandomFrames::answer(const Addresses& world) {
  auto frame = link(world, false);
  if (one_in(16)) {
    arp(frame, world, {world.to_v4, any(world.v4)});
  } else if (one_in(2)) {
    ipv4(frame,
         {one_in(8) ? any(kStrange4) : world.to_v4, one_in(4) ? any(kStrange4) : any(world.v4)});
  } else {
    ipv6(frame,
         {one_in(8) ? any(kStrange6) : world.to_v6, one_in(4) ? any(kStrange6) : any(world.v6)});
  }
  return spoilt(frame.bytes());
}

Packet RandomFrames::link(const Addresses& world, bool request) {
  const auto mac = one_in(10) ? any(kStrangeMacs) : any(world.macs);
  Packet frame;
  if (request) {
    frame.eth(mac, one_in(4) ? any(kStrangeMacs) : any(world.macs));
  } else {
    frame.eth();
  }
  if (!world.vlans.empty()) {
    if (const auto vlan = world.vlans[below(world.vlans.size())]; vlan != 0) {
      frame.vlan(static_cast<std::uint16_t>(vlan | (one_in(4) ? 0xe000 : 0)));
    }
    if (one_in(40)) {
      frame.vlan(7);
    }
  }
  return frame;
}

void RandomFrames::tcp(Packet& frame) {
  frame.tcp(port(), port(), flags());
  if (one_in(3)) {
    frame.payload(any_bytes(below(300)));
  }
}

/// The packet that an ICMP error is about: one of ours to the guest, or what it pretends to be.
Bytes RandomFrames::quoted(Ends ends) {
  Packet inner;
  inner.eth();
  const bool swap = !one_in(8);
  const auto source = swap ? ends.destination : ends.source;
  const auto destination = swap ? ends.source : ends.destination;
  if (source.find(':') == std::string_view::npos) {
    inner.ipv4(source, destination);
  } else {
    inner.ipv6(source, destination);
  }
  inner.tcp(port(), port(), "A");
  return inner.l3(one_in(4) ? below(60) : 48);
}

void RandomFrames::ipv4(Packet& frame, Ends ends) {
  Packet::V4 more;
  more.id = static_cast<std::uint16_t>(random_());
  more.ttl = any<std::uint8_t>({0, 1, 64, 255});
  if (one_in(6)) {
    more.options = any_bytes(4UL * below(11));
    if (!more.options.empty()) {
      more.options[0] = any<std::uint8_t>({1, 7, 68, 131, 137});  // routes, time stamps
    }
  }
  more.fragment =
      one_in(5) ? any<std::uint16_t>({0x2000, 0x2001, 1, 2, 0x1fff, 0x8000, 0x3fff}) : 0x4000;
  frame.ipv4(ends.source, ends.destination, more);
  switch (below(10)) {
    case 0:
      frame.icmp(8).payload(any_bytes(below(100)));
      break;
    case 1:
      frame.icmp(any<std::uint8_t>({3, 3, 11, 12, 5, 0}), 4, 1280).payload(quoted(ends));
      break;
    case 2:
      frame.udp(port(), port());
      break;
    case 3:
      frame.protocol(static_cast<std::uint8_t>(random_())).payload(any_bytes(below(60)));
      break;
    case 4:
      frame.protocol(6).payload(any_bytes(below(40)));
      break;
    default:
      tcp(frame);
  }
}

void RandomFrames::extension_headers(Packet& frame) {
  for (auto left = one_in(4) ? below(11) : below(2); left > 0; --left) {
    if (one_in(3)) {
      frame.fragment_header(any<std::uint16_t>({0, 1, 8, 9, 0xfff8}));
    } else {
      frame.extension(any<std::uint8_t>({0, 43, 60, 60, 51, 135}), 8UL * (1 + below(4)));
    }
  }
}

void RandomFrames::ipv6(Packet& frame, Ends ends) {
  frame.ipv6(ends.source, ends.destination, any<std::uint8_t>({0, 1, 64, 255}));
  extension_headers(frame);
  switch (below(10)) {
    case 0:
      frame.icmp(128).payload(any_bytes(below(100)));
      break;
    case 1:
      frame.icmp(any<std::uint8_t>({1, 2, 3, 4, 5, 134}), 0, 1280).payload(quoted(ends));
      break;
    case 2:
      frame.udp(port(), port());
      break;
    case 3:
      frame.protocol(static_cast<std::uint8_t>(random_())).payload(any_bytes(below(60)));
      break;
    case 4:
      frame.protocol(6).payload(any_bytes(below(40)));
      break;
    default:
      tcp(frame);
  }
}

void RandomFrames::arp(Packet& frame, const Addresses& world, Ends ends) {
  frame.arp(any<std::uint16_t>({1, 1, 1, 2, 0}), any(world.macs), ends.source, kNoMac,
            ends.destination);
  if (one_in(2)) {
    frame.payload(Bytes(18, 0));  // as long as Ethernet wants it
  }
}

void RandomFrames::solicitation(Packet& frame, const Addresses& world, Ends ends) {
  const auto target = one_in(6) ? any(kStrange6) : world.to_v6;
  Bytes body = ip_bytes(target);
  if (!one_in(4)) {
    body.push_back(1);
    body.push_back(1);
    const auto mac = mac_bytes(any(world.macs));
    body.insert(body.end(), mac.begin(), mac.end());
  }
  frame.ipv6(ends.source, one_in(3) ? ends.destination : kSolicitedNode, one_in(8) ? 64 : 255);
  if (one_in(10)) {
    extension_headers(frame);
  }
  frame.icmp(135, one_in(20) ? 1 : 0).payload(body);
}

/// Half of the frames as they are, the others with some of it changed.
Bytes RandomFrames::spoilt(Bytes frame) {
  if (one_in(2)) {
    return frame;
  }
  switch (below(6)) {
    case 0:
      frame.resize(std::max(kLeast, std::size_t{below(frame.size() + 1)}));
      break;
    case 1: {
      const auto more = any_bytes(below(64));
      frame.insert(frame.end(), more.begin(), more.end());
      break;
    }
    case 2:  // somewhere in the headers
      for (auto left = 1 + below(3); left > 0; --left) {
        frame[kType + below(std::min<std::size_t>(frame.size() - kType, 64))] =
            any<std::uint8_t>({0, 1, 5, 6, 0x45, 0x4f, 0x60, 80, 0xff});
      }
      break;
    default:
      for (auto left = 1 + below(3); left > 0; --left) {
        frame[below(frame.size())] ^= static_cast<std::uint8_t>(1U << below(8));
      }
  }
  return long_enough(std::move(frame));
}

/// Newer kernels run no program over a frame that is shorter than the IP header which its type
/// announces. Behind a VLAN tag it may be as short as it likes.
Bytes RandomFrames::long_enough(Bytes frame) {
  const auto type = frame[kType] << 8U | frame[kType + 1];
  const std::size_t least = type == 0x0800 ? kLeast - 1 + 20 : type == 0x86dd ? kLeast - 1 + 40 : 0;
  if (frame.size() < least) {
    const auto more = any_bytes(least - frame.size());
    frame.insert(frame.end(), more.begin(), more.end());
  }
  return frame;
}

}  // namespace metatap::testing
