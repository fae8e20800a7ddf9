// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// Where a guest is: one address or MAC within one network.
namespace metatap::agent {

/// What a lookup goes by: the address X-Forwarded-For carried, or, when that is an IPv6 link-local
/// one, the MAC in its interface id. Neutron drops the two middle octets of that id without
/// looking whether they are ff:fe, and so does this.
class Locator {
 public:
  /// An IPv4 or IPv6 address without zone; `::ffff:a.b.c.d` is a.b.c.d. nullopt: it is neither.
  static std::optional<Locator> of_address(std::string_view text);
  /// An address as a port declares it; never turned into a MAC, not even a link-local one.
  static std::optional<Locator> of_fixed_ip(std::string_view text);
  /// Six octets with colons.
  static std::optional<Locator> of_mac(std::string_view text);

  [[nodiscard]] bool is_mac() const { return size_ == 6; }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {bytes_.data(), size_}; }
  /// As Neutron spells it: dotted quad, lower-case v6, or the MAC with colons.
  [[nodiscard]] std::string str() const;
  bool operator==(const Locator&) const = default;

 private:
  static std::optional<Locator> parsed(std::string_view text);

  std::array<std::uint8_t, 16> bytes_{};
  std::uint8_t size_ = 0;
};

/// The key of one place in a table, without an allocation: network id and locator.
class PlaceKey {
 public:
  PlaceKey(std::string_view network_id, const Locator& locator);
  /// Empty when the network's id was too long to be one; nothing is stored under it.
  [[nodiscard]] std::string_view view() const { return {text_.data(), size_}; }

 private:
  std::array<char, 160> text_;
  std::size_t size_ = 0;
};

}  // namespace metatap::agent
