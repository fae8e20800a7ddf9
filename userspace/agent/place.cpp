// SPDX-License-Identifier: Apache-2.0
#include "agent/place.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "metatap/address.hpp"

namespace metatap::agent {

std::optional<Locator> Locator::parsed(std::string_view text) {
  const auto address = Address::parse(text);
  if (!address) {
    return std::nullopt;
  }
  const Address plain = address->unmapped();
  Locator locator;
  locator.bytes_ = plain.bytes;
  locator.size_ = static_cast<std::uint8_t>(plain.size());
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
  const auto mac = parse_mac(text);
  if (!mac) {
    return std::nullopt;
  }
  Locator locator;
  locator.size_ = static_cast<std::uint8_t>(mac->size());
  std::ranges::copy(*mac, locator.bytes_.begin());
  return locator;
}

std::string Locator::str() const {
  if (is_mac()) {
    MacAddress mac{};
    std::copy_n(bytes_.begin(), mac.size(), mac.begin());
    return to_string(mac);
  }
  return Address{size_ == 4 ? AF_INET : AF_INET6, bytes_}.text();
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
