// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace metatap::testing {

using Bytes = std::vector<std::uint8_t>;

/// Frames for the BPF tables, stacked header by header; lengths, next headers and checksums are
/// filled in by bytes().
///   Packet().eth().ipv4("10.0.0.5", "169.254.169.254").tcp(40000, 80, "S")
class Packet {
 public:
  Packet& eth(std::string_view source = "52:54:00:00:00:01",
              std::string_view destination = "52:54:00:ff:ff:ff");
  Packet& vlan(std::uint16_t vid);
  struct V4 {
    std::uint8_t ttl = 64;
    std::uint16_t id = 1, fragment = 0x4000;  ///< flags and offset
    Bytes options{};                          ///< a multiple of four
  };
  Packet& ipv4(std::string_view source, std::string_view destination) {
    return ipv4(source, destination, V4{});
  }
  Packet& ipv4(std::string_view source, std::string_view destination, const V4& more);
  Packet& ipv6(std::string_view source, std::string_view destination, std::uint8_t hop_limit = 64);
  /// An extension header of that type and so many bytes (a multiple of eight).
  Packet& extension(std::uint8_t type, std::size_t size = 8);
  Packet& fragment_header(std::uint16_t offset_and_flags, std::uint32_t id = 1);
  /// Flags as scapy writes them: "S", "SA", "PA".
  Packet& tcp(std::uint16_t source, std::uint16_t destination, std::string_view flags);
  Packet& udp(std::uint16_t source, std::uint16_t destination);
  Packet& icmp(std::uint8_t type, std::uint8_t code = 0, std::uint32_t rest = 0);
  Packet& arp(std::uint16_t operation, std::string_view sender_mac, std::string_view sender,
              std::string_view target_mac, std::string_view target);
  Packet& payload(std::string_view text);
  Packet& payload(const Bytes& bytes);
  /// Cuts the finished frame there.
  Packet& cut(std::size_t size);
  /// The L4 protocol of a packet that has no L4 header (a later fragment).
  Packet& protocol(std::uint8_t number);

  [[nodiscard]] Bytes bytes() const;
  /// From the IP header on: what an ICMP error quotes.
  [[nodiscard]] Bytes l3(std::size_t size) const;
  [[nodiscard]] std::string hex() const;

 private:
  void put16(std::uint16_t value);
  void put(const Bytes& bytes);
  void set_type(std::uint16_t type);
  void set_next(std::uint8_t protocol);

  Bytes raw_;
  std::size_t type_at_ = 0;               ///< where the next EtherType goes
  std::optional<std::size_t> l3_, next_;  ///< IP header; where the next protocol goes
  std::optional<std::size_t> l4_;
  int version_ = 0;
  std::uint8_t l4_protocol_ = 0;
  std::optional<std::size_t> cut_;
};

[[nodiscard]] Bytes mac_bytes(std::string_view text);
[[nodiscard]] Bytes ip_bytes(std::string_view text);
/// RFC 1071 over all of it, folded, not inverted.
[[nodiscard]] std::uint16_t sum16(const Bytes& bytes, std::uint32_t start = 0);
[[nodiscard]] std::string to_hex(const Bytes& bytes);

}  // namespace metatap::testing
