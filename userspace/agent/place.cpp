// SPDX-License-Identifier: Apache-2.0
#include "agent/place.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace metatap::agent {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

std::optional<Locator> Locator::parsed(std::string_view text) {
  std::array<char, INET6_ADDRSTRLEN> copy{};
  if (text.empty() || text.size() >= copy.size() || text.find('\0') != std::string_view::npos) {
    return std::nullopt;
  }
  std::ranges::copy(text, copy.begin());
  Locator locator;
  if (inet_pton(AF_INET, copy.data(), locator.bytes_.data()) == 1) {
    locator.size_ = 4;
    return locator;
  }
  if (inet_pton(AF_INET6, copy.data(), locator.bytes_.data()) != 1) {
    return std::nullopt;
  }
  locator.size_ = 16;
  if (std::ranges::equal(kMappedPrefix, std::span(locator.bytes_).first(kMappedPrefix.size()))) {
    std::array<std::uint8_t, 16> v4{};
    std::copy_n(locator.bytes_.begin() + kMappedPrefix.size(), 4, v4.begin());
    locator.bytes_ = v4;
    locator.size_ = 4;
  }
  return locator;
}

std::optional<Locator> Locator::of_address(std::string_view text) {
  auto locator = parsed(text);
  if (locator && locator->size_ == 16 && locator->bytes_[0] == 0xfe &&
      (locator->bytes_[1] & 0xc0) == 0x80) {
    const auto& id = locator->bytes_;
    locator->bytes_ = {
        static_cast<std::uint8_t>(id[8] ^ 0x02), id[9], id[10], id[13], id[14], id[15]};
    locator->size_ = 6;
  }
  return locator;
}

std::optional<Locator> Locator::of_fixed_ip(std::string_view text) {
  return parsed(text);
}

std::optional<Locator> Locator::of_mac(std::string_view text) {
  if (text.size() != 17) {
    return std::nullopt;
  }
  Locator locator;
  locator.size_ = 6;
  for (std::size_t octet = 0; octet < 6; ++octet) {
    const char* first = text.data() + octet * 3;
    const auto [end, error] = std::from_chars(first, first + 2, locator.bytes_[octet], 16);
    if (error != std::errc() || end != first + 2 || (octet < 5 && first[2] != ':')) {
      return std::nullopt;
    }
  }
  return locator;
}

std::string Locator::str() const {
  if (is_mac()) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const auto octet : bytes()) {
      text += text.empty() ? "" : ":";
      text += kDigits[octet >> 4];
      text += kDigits[octet & 0xf];
    }
    return text;
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(size_ == 4 ? AF_INET : AF_INET6, bytes_.data(), text.data(), text.size());
  return text.data();
}

PlaceKey::PlaceKey(std::string_view network_id, const Locator& locator) {
  const auto bytes = locator.bytes();
  if (network_id.empty() || network_id.size() + 1 + bytes.size() > text_.size()) {
    return;
  }
  std::memcpy(text_.data(), network_id.data(), network_id.size());
  text_[network_id.size()] = '\0';
  std::memcpy(text_.data() + network_id.size() + 1, bytes.data(), bytes.size());
  size_ = network_id.size() + 1 + bytes.size();
}

}  // namespace metatap::agent
