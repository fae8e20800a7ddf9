// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dataplane/dry_run.hpp"
#include "dataplane/port_sight.hpp"
#include "dataplane/sightings.hpp"
#include "metatap/result.hpp"

/// What the programs would do with the packets that a guest sends first, for `metatap explain`.
namespace metatap::dataplane {

enum class PacketKind : std::uint8_t { arp, syn_v4, solicitation, syn_v6 };
[[nodiscard]] std::string_view name_of(PacketKind kind);

/// A packet that the guest would send.
struct GuestPacket {
  PacketKind kind = PacketKind::arp;
  Address source;
  bool stranger = false;  ///< the guest was seen to use that source, and it is none of the port's
  Frame frame;
};

/// By each family, from an address of the port's; and from those that it was refused for. On a tap
/// a guest asks for the address first (ARP, neighbour discovery); a router's guest asks its router.
/// A port without an address of its own may use whatever it likes: one is made up.
[[nodiscard]] std::vector<GuestPacket> first_packets(const PortSight& port,
                                                     const std::vector<Sighting>& strangers);

struct Rehearsed {
  GuestPacket packet;
  DryRunOutcome outcome;
  Address became;  ///< the source as it went on: an alias, on a tap
};

/// In the namespace of the port's device.
[[nodiscard]] Result<std::vector<Rehearsed>> rehearse(const DryRun& programs, const PortSight& port,
                                                      const std::vector<Sighting>& strangers);

}  // namespace metatap::dataplane
