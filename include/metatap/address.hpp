// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Addresses as values: one type and one parser for the whole product, because identity is decided
/// by comparing them. Text goes through here once, at the edge, and comes out in one spelling.
namespace metatap {

/// An IPv4 or IPv6 address in network order, left-justified; what is behind it is zero.
struct Address {
  int family = 0;  ///< AF_INET or AF_INET6
  std::array<std::uint8_t, 16> bytes{};

  /// Dotted quad, or IPv6 without a zone. nullopt: it is neither.
  static std::optional<Address> parse(std::string_view text);
  /// As inet_ntop writes it: lower case, the longest run of zeros shortened (RFC 5952).
  [[nodiscard]] std::string text() const;

  [[nodiscard]] bool v4() const;
  [[nodiscard]] std::size_t size() const { return v4() ? 4 : 16; }
  [[nodiscard]] unsigned bits() const { return static_cast<unsigned>(size()) * 8; }
  [[nodiscard]] bool link_local() const;  ///< fe80::/10
  /// An IPv4-mapped address (::ffff:a.b.c.d) as the IPv4 address it is; any other as it is.
  [[nodiscard]] Address unmapped() const;
  auto operator<=>(const Address&) const = default;
};

/// ADDRESS/LENGTH, with the host bits it was written with.
struct Prefix {
  Address address;
  unsigned length = 0;  ///< at most the address' bits

  /// nullopt: not an address, no length, or too long a one.
  static std::optional<Prefix> parse(std::string_view text);
  [[nodiscard]] std::string text() const;

  [[nodiscard]] Address network() const;  ///< without host bits
  [[nodiscard]] Prefix masked() const { return {network(), length}; }
  [[nodiscard]] bool contains(const Address& other) const;
  auto operator<=>(const Prefix&) const = default;
};

using MacAddress = std::array<std::uint8_t, 6>;

/// Six octets of two digits, with colons or dashes between them. nullopt: it is none.
[[nodiscard]] std::optional<MacAddress> parse_mac(std::string_view text);
/// Lower case with colons, as Neutron writes it.
[[nodiscard]] std::string to_string(const MacAddress& mac);

}  // namespace metatap
