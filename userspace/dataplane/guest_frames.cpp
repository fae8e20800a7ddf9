// SPDX-License-Identifier: Apache-2.0
#include "dataplane/guest_frames.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <span>

#include "metatap/abi/abi.h"

namespace metatap::dataplane {
namespace {

constexpr std::uint16_t kIpv4 = 0x0800, kArp = 0x0806, kVlan = 0x8100, kIpv6 = 0x86dd;
constexpr std::uint8_t kNeighbourSolicitation = 135;

using Bytes = std::span<const std::uint8_t>;

void put16(Frame& frame, std::uint32_t value) {
  frame.push_back(static_cast<std::uint8_t>(value >> 8));
  frame.push_back(static_cast<std::uint8_t>(value));
}

void put32(Frame& frame, std::uint32_t value) {
  put16(frame, value >> 16);
  put16(frame, value & 0xffff);
}

void put(Frame& frame, Bytes bytes) {
  frame.insert(frame.end(), bytes.begin(), bytes.end());
}

Bytes bytes_of(const Address& address) {
  return Bytes(address.bytes).first(address.size());
}

void set16(Frame& frame, std::size_t at, std::uint32_t value) {
  frame[at] = static_cast<std::uint8_t>(value >> 8);
  frame[at + 1] = static_cast<std::uint8_t>(value);
}

/// RFC 1071: what makes the sum of all 16-bit words come out even.
std::uint16_t checksum(Bytes bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? static_cast<std::uint32_t>(bytes[i]) << 8 : bytes[i];
  }
  while (sum > 0xffff) {
    sum = (sum >> 16) + (sum & 0xffff);
  }
  return static_cast<std::uint16_t>(~sum);
}

Frame ethernet(const FrameEnds& ends, std::uint16_t protocol) {
  Frame frame;
  put(frame, ends.destination);
  put(frame, ends.source);
  if (ends.vlan != 0) {
    put16(frame, kVlan);
    put16(frame, ends.vlan);
  }
  put16(frame, protocol);
  return frame;
}

/// With `payload` behind it, in which the 16 bits at `check_at` are the checksum.
Frame packet(const FrameEnds& ends, const Address& source, const Address& destination,
             std::uint8_t protocol, Frame payload, std::size_t check_at) {
  Frame pseudo;
  put(pseudo, bytes_of(source));
  put(pseudo, bytes_of(destination));
  put32(pseudo, static_cast<std::uint32_t>(payload.size()));
  put32(pseudo, protocol);
  put(pseudo, payload);
  set16(payload, check_at, checksum(pseudo));
  constexpr std::uint8_t kNeighbours = 255, kHost = 64;
  const std::uint8_t hops = protocol == IPPROTO_ICMPV6 ? kNeighbours : kHost;
  if (!source.v4()) {
    Frame frame = ethernet(ends, kIpv6);
    put32(frame, 6U << 28U);
    put16(frame, static_cast<std::uint32_t>(payload.size()));
    put(frame, std::array<std::uint8_t, 2>{protocol, hops});
    put(frame, bytes_of(source));
    put(frame, bytes_of(destination));
    put(frame, payload);
    return frame;
  }
  Frame header{0x45, 0};
  put16(header, static_cast<std::uint32_t>(20 + payload.size()));
  put32(header, 0x4000);  // no id, not to be fragmented
  put(header, std::array<std::uint8_t, 4>{hops, protocol, 0, 0});
  put(header, bytes_of(source));
  put(header, bytes_of(destination));
  set16(header, 10, checksum(header));
  Frame frame = ethernet(ends, kIpv4);
  put(frame, header);
  put(frame, payload);
  return frame;
}

}  // namespace

Address metadata_address(int family) {
  return Address::parse(family == AF_INET ? "169.254.169.254" : "fe80::a9fe:a9fe").value();
}

Frame arp_request(const FrameEnds& ends, const Address& source) {
  constexpr std::uint16_t kEthernet = 1, kRequest = 1;
  Frame frame = ethernet(ends, kArp);
  put16(frame, kEthernet);
  put16(frame, kIpv4);
  put(frame, std::array<std::uint8_t, 2>{6, 4});
  put16(frame, kRequest);
  put(frame, ends.source);
  put(frame, bytes_of(source));
  put(frame, MacAddress{});
  put(frame, bytes_of(metadata_address(AF_INET)));
  return frame;
}

Frame neighbour_solicitation(const FrameEnds& ends, const Address& source) {
  constexpr std::uint8_t kSourceMac = 1, kEightBytes = 1;
  Frame solicitation{kNeighbourSolicitation, 0, 0, 0, 0, 0, 0, 0};
  put(solicitation, bytes_of(metadata_address(AF_INET6)));
  put(solicitation, std::array<std::uint8_t, 2>{kSourceMac, kEightBytes});
  put(solicitation, ends.source);
  return packet(ends, source, Address::parse("ff02::1:fffe:a9fe").value(), IPPROTO_ICMPV6,
                std::move(solicitation), 2);
}

Frame tcp_segment(const FrameEnds& ends, const Address& source, std::uint16_t port, TcpFlag flag,
                  std::uint32_t sequence) {
  constexpr std::uint32_t kWithoutOptions = 5U << 12U, kWindow = 64240;
  Frame segment;
  put16(segment, port);
  put16(segment, MT_METADATA_PORT);
  put32(segment, sequence);
  put32(segment, 0);
  put16(segment, kWithoutOptions | static_cast<std::uint32_t>(flag));
  put16(segment, kWindow);
  put32(segment, 0);  // checksum and urgent pointer
  return packet(ends, source, metadata_address(source.family), IPPROTO_TCP, std::move(segment), 16);
}

}  // namespace metatap::dataplane
