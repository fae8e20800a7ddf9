// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The addresses an inventory holds, checked and in one spelling.
namespace metatap {

/// An IPv4 or IPv6 address; v4 in the last four bytes.
struct IpAddress {
  int version = 4;
  std::array<std::uint8_t, 16> bytes{};

  static std::optional<IpAddress> parse(std::string_view text);
  [[nodiscard]] std::string str() const;
  auto operator<=>(const IpAddress&) const = default;
};

/// ADDRESS/LENGTH. The address may have host bits; network() is without them.
struct IpPrefix {
  IpAddress address;
  int length = 0;

  static std::optional<IpPrefix> parse(std::string_view text);
  [[nodiscard]] bool contains(const IpAddress& other) const;
  [[nodiscard]] IpAddress network() const;
  [[nodiscard]] std::string str() const;
  bool operator==(const IpPrefix&) const = default;
};

/// Six octets, any of the usual separators; nullopt if it is not one. The result is in lower case
/// with colons, as Neutron writes it.
std::optional<std::string> canonical_mac(std::string_view text);

}  // namespace metatap
