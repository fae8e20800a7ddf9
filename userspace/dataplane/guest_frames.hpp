// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "metatap/address.hpp"

/// Frames as a guest sends them on its way to the metadata service: whole, with good checksums, so
/// that the programs and the kernel take them for what they are. No kernel in here.
namespace metatap::dataplane {

using Frame = std::vector<std::uint8_t>;

/// Who speaks, and to which MAC.
struct FrameEnds {
  MacAddress source{}, destination{};
  std::uint16_t vlan = 0;  ///< the tag in the frame; 0: none
};

/// "Who has 169.254.169.254?" (RFC 826) and "who has fe80::a9fe:a9fe?" (RFC 4861, 4.3).
[[nodiscard]] Frame arp_request(const FrameEnds& ends, const Address& source);
[[nodiscard]] Frame neighbour_solicitation(const FrameEnds& ends, const Address& source);

enum class TcpFlag : std::uint8_t { syn = 0x02, reset = 0x04 };
/// A segment without data to port 80 of the metadata address of the source's family.
[[nodiscard]] Frame tcp_segment(const FrameEnds& ends, const Address& source, std::uint16_t port,
                                TcpFlag flag, std::uint32_t sequence = 1);

/// The metadata address of that family.
[[nodiscard]] Address metadata_address(int family);

}  // namespace metatap::dataplane
