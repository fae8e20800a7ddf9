// SPDX-License-Identifier: Apache-2.0
#include "inventory/address.hpp"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

namespace metatap {
namespace {

constexpr std::size_t kV4At = 12;  // where a v4 address begins in the 16 bytes

int bits(int version) {
  return version == 4 ? 32 : 128;
}

}  // namespace

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN + 1> name{};
  if (text.empty() || text.size() >= name.size() || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::memcpy(name.data(), text.data(), text.size());
  IpAddress address;
  if (::inet_pton(AF_INET, name.data(), address.bytes.data() + kV4At) == 1) {
    return address;
  }
  address.version = 6;
  if (::inet_pton(AF_INET6, name.data(), address.bytes.data()) == 1) {
    return address;
  }
  return std::nullopt;
}

std::string IpAddress::str() const {
  std::array<char, INET6_ADDRSTRLEN> name{};
  if (version == 4) {
    ::inet_ntop(AF_INET, bytes.data() + kV4At, name.data(), name.size());
  } else {
    ::inet_ntop(AF_INET6, bytes.data(), name.data(), name.size());
  }
  return name.data();
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto address = IpAddress::parse(text.substr(0, slash));
  const auto digits = text.substr(slash + 1);
  int length = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (!address || error != std::errc() || end != digits.data() + digits.size() || length < 0 ||
      length > bits(address->version)) {
    return std::nullopt;
  }
  return IpPrefix{*address, length};
}

IpAddress IpPrefix::network() const {
  IpAddress masked = address;
  const std::size_t first = address.version == 4 ? kV4At : 0;
  for (std::size_t at = first; at < masked.bytes.size(); ++at) {
    const int kept = length - static_cast<int>(at - first) * 8;
    if (kept <= 0) {
      masked.bytes[at] = 0;
    } else if (kept < 8) {
      masked.bytes[at] &= static_cast<std::uint8_t>(0xff << (8 - kept));
    }
  }
  return masked;
}

bool IpPrefix::contains(const IpAddress& other) const {
  return other.version == address.version && IpPrefix{other, length}.network() == network();
}

std::string IpPrefix::str() const {
  return address.str() + "/" + std::to_string(length);
}

std::optional<std::string> canonical_mac(std::string_view text) {
  std::string mac;
  for (std::size_t octet = 0; octet < 6; ++octet) {
    const auto at = octet * 3;
    if (text.size() < at + 2) {
      return std::nullopt;
    }
    if (octet > 0) {
      if (const char separator = text[at - 1]; separator != ':' && separator != '-') {
        return std::nullopt;
      }
      mac.push_back(':');
    }
    for (const char digit : text.substr(at, 2)) {
      if (digit >= 'A' && digit <= 'F') {
        mac.push_back(static_cast<char>(digit - 'A' + 'a'));
      } else if ((digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f')) {
        mac.push_back(digit);
      } else {
        return std::nullopt;
      }
    }
  }
  if (text.size() != 17) {
    return std::nullopt;
  }
  return mac;
}

}  // namespace metatap
