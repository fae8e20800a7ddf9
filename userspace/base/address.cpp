// SPDX-License-Identifier: Apache-2.0
#include "metatap/address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace metatap {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/// The bits of one byte that a prefix of `length` bits keeps, `at` bytes from its start.
std::uint8_t kept(unsigned length, std::size_t at) {
  const auto bits = std::clamp<int>(static_cast<int>(length) - static_cast<int>(at) * 8, 0, 8);
  return static_cast<std::uint8_t>(0xff00U >> static_cast<unsigned>(bits));
}

}  // namespace

std::optional<Address> Address::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> copy{};
  if (text.empty() || text.size() >= copy.size() || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::ranges::copy(text, copy.begin());
  Address address;
  for (const int family : {AF_INET, AF_INET6}) {
    address.family = family;
    if (::inet_pton(family, copy.data(), address.bytes.data()) == 1) {
      return address;
    }
  }
  return std::nullopt;
}

std::string Address::text() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  if (v4()) {  // on the way of every connection, where inet_ntop's printf is felt
    char* end = buffer.data();
    for (std::size_t at = 0; at < 4; ++at) {
      if (at != 0) {
        *end++ = '.';
      }
      end = std::to_chars(end, buffer.data() + buffer.size(), bytes[at]).ptr;
    }
    return {buffer.data(), end};
  }
  return ::inet_ntop(family, bytes.data(), buffer.data(), buffer.size()) == nullptr
             ? std::string()
             : std::string(buffer.data());
}

bool Address::v4() const {
  return family == AF_INET;
}

bool Address::link_local() const {
  return family == AF_INET6 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

Address Address::unmapped() const {
  if (family != AF_INET6 || !std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) {
    return *this;
  }
  Address plain{AF_INET, {}};
  std::copy_n(bytes.begin() + kMapped.size(), 4, plain.bytes.begin());
  return plain;
}

std::optional<Prefix> Prefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto address = Address::parse(text.substr(0, slash));
  const auto digits = text.substr(slash + 1);
  const auto* const end = digits.data() + digits.size();
  unsigned length = 0;
  const auto [stop, error] = std::from_chars(digits.data(), end, length);
  if (!address || digits.empty() || error != std::errc() || stop != end ||
      length > address->bits()) {
    return std::nullopt;
  }
  return Prefix{*address, length};
}

std::string Prefix::text() const {
  return address.text() + "/" + std::to_string(length);
}

Address Prefix::network() const {
  Address network = address;
  for (std::size_t at = 0; at < network.bytes.size(); ++at) {
    network.bytes[at] &= kept(length, at);
  }
  return network;
}

bool Prefix::contains(const Address& other) const {
  return other.family == address.family && Prefix{other, length}.network() == network();
}

std::optional<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac{};
  if (text.size() != 3 * mac.size() - 1) {
    return std::nullopt;
  }
  for (std::size_t octet = 0; octet < mac.size(); ++octet) {
    const char* const first = text.data() + 3 * octet;
    const auto [stop, error] = std::from_chars(first, first + 2, mac[octet], 16);
    if (error != std::errc() || stop != first + 2 ||
        (octet + 1 < mac.size() && first[2] != ':' && first[2] != '-')) {
      return std::nullopt;
    }
  }
  return mac;
}

std::string to_string(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                     mac[4], mac[5]);
}

}  // namespace metatap
