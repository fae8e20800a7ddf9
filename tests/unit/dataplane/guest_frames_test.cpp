// SPDX-License-Identifier: Apache-2.0
#include "dataplane/guest_frames.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <span>

#include "dataplane/rehearsal.hpp"

namespace metatap::dataplane {
namespace {

constexpr FrameEnds kEnds{{0x52, 0x54, 0, 0, 0, 1}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0};

/// RFC 1071: zero where the checksum in it is good.
std::uint16_t sum_of(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? static_cast<std::uint32_t>(bytes[i]) << 8 : bytes[i];
  }
  while (sum > 0xffff) {
    sum = (sum >> 16) + (sum & 0xffff);
  }
  return static_cast<std::uint16_t>(~sum);
}

/// Of what is behind the IP header, with its pseudo header.
std::uint16_t payload_sum(const Frame& frame, bool v4) {
  const std::span<const std::uint8_t> all(frame);
  const auto addresses = v4 ? all.subspan(14 + 12, 8) : all.subspan(14 + 8, 32);
  const auto payload = all.subspan(14 + (v4 ? 20 : 40));
  const std::uint32_t protocol = frame[v4 ? 14 + 9 : 14 + 6];
  const auto partial = static_cast<std::uint16_t>(~sum_of(addresses));
  return sum_of(payload, partial + protocol + static_cast<std::uint32_t>(payload.size()));
}

TEST(GuestFrames, HaveGoodChecksums) {
  const auto v4 = tcp_segment(kEnds, Address::parse("10.0.0.10").value(), 50001, TcpFlag::syn);
  EXPECT_EQ(v4.size(), 54U);
  EXPECT_EQ(sum_of(std::span(v4).subspan(14, 20)), 0);
  EXPECT_EQ(payload_sum(v4, true), 0);
  const auto v6 = tcp_segment(kEnds, Address::parse("fe80::1").value(), 50001, TcpFlag::reset, 2);
  EXPECT_EQ(payload_sum(v6, false), 0);
  EXPECT_EQ(payload_sum(neighbour_solicitation(kEnds, Address::parse("fe80::1").value()), false),
            0);
}

TEST(GuestFrames, CarryTheTagInBand) {
  auto ends = kEnds;
  ends.vlan = 101;
  const auto frame = arp_request(ends, Address::parse("10.0.0.10").value());
  EXPECT_EQ(frame.size(), 46U);
  EXPECT_THAT(std::span(frame).subspan(12, 6), testing::ElementsAre(0x81, 0, 0, 101, 0x08, 0x06));
}

PortSight port_with(std::initializer_list<KnownAddress> addresses) {
  PortSight port;
  port.mac = {0x52, 0x54, 0, 0, 0, 1};
  port.addresses = addresses;
  return port;
}

std::vector<std::string> said(const std::vector<GuestPacket>& packets) {
  std::vector<std::string> all;
  for (const auto& packet : packets) {
    all.push_back(std::string(name_of(packet.kind)) + " from " + packet.source.text() +
                  (packet.stranger ? ", a stranger" : ""));
  }
  return all;
}

TEST(FirstPackets, AskByEachFamilyFromTheFixedAddress) {
  const auto port = port_with({{Address::parse("10.0.0.7").value(), {}, false, true},
                               {Address::parse("10.0.0.10").value(), {}, true, false}});
  EXPECT_THAT(said(first_packets(port, {})),
              testing::ElementsAre("ARP request from 10.0.0.10", "IPv4 SYN from 10.0.0.10",
                                   "neighbour solicitation from fe80::5054:ff:fe00:1",
                                   "IPv6 SYN from fe80::5054:ff:fe00:1"));
}

TEST(FirstPackets, OfARoutersGuestGoToTheRouter) {
  auto port = port_with({{Address::parse("10.0.0.10").value(), {}, true, false},
                         {Address::parse("fd00::10").value(), {}, true, false}});
  port.via = Path::router;
  EXPECT_THAT(said(first_packets(port, {})),
              testing::ElementsAre("IPv4 SYN from 10.0.0.10", "IPv6 SYN from fd00::10"));
  port.v6 = false;
  EXPECT_EQ(first_packets(port, {}).size(), 1U);
}

TEST(FirstPackets, TryWhatTheGuestWasRefusedFor) {
  auto port = port_with({{Address::parse("10.0.0.10").value(), {}, true, false}});
  port.v6 = false;
  Sighting seen{MT_spoofed_v4, Address::parse("10.0.0.99").value(), {2, 0, 0, 0, 0, 9}, 1, {}, {}};
  const auto packets = first_packets(port, {seen});
  EXPECT_THAT(said(packets), testing::Contains("IPv4 SYN from 10.0.0.99, a stranger"));
  EXPECT_EQ(packets.back().frame[6], 2) << "the MAC that it was seen with";
}

mt_event event_of(std::uint32_t reason, std::uint8_t last) {
  mt_event event{};
  event.reason = reason;
  event.protocol = 0x0800;
  event.source[0] = 10;
  event.source[3] = last;
  return event;
}

TEST(Sightings, KeepTheLastFewOfAnOwnerAndGiveNoneToTheNext) {
  Sightings sightings;
  const Sightings::Clock::time_point begin{};
  using std::chrono::seconds;
  for (std::uint8_t i = 0; i < 6; ++i) {
    sightings.note(7, event_of(MT_spoofed_v4, i), begin + seconds(i));
  }
  sightings.note(7, event_of(MT_spoofed_v4, 5), begin + seconds(9));
  sightings.note(7, event_of(MT_syn_budget, 1), begin + seconds(9));
  const auto seen = sightings.of(7);
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen.front().source.text(), "10.0.0.5");
  EXPECT_EQ(seen.front().packets, 2U);
  EXPECT_EQ(seen.front().first, begin + seconds(5));
  EXPECT_EQ(seen.back().source.text(), "10.0.0.2");
  EXPECT_TRUE(sightings.of(8).empty());
}

TEST(Sightings, AreBounded) {
  Sightings sightings;
  for (std::uint64_t owner = 1; owner <= 2000; ++owner) {
    sightings.note(owner, event_of(MT_wrong_mac, 1), {});
  }
  EXPECT_TRUE(sightings.of(1).empty());
  EXPECT_EQ(sightings.of(2000).size(), 1U);
}

}  // namespace
}  // namespace metatap::dataplane
