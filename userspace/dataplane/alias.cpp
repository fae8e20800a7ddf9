// SPDX-License-Identifier: Apache-2.0
#include "dataplane/alias.hpp"

#include <arpa/inet.h>

#include <cstring>

namespace metatap::dataplane {
namespace {

std::uint32_t word16(const Address& address, std::size_t i) {
  return static_cast<std::uint32_t>(address.bytes[2 * i] << 8 | address.bytes[2 * i + 1]);
}

void set_word16(Address& address, std::size_t i, std::uint32_t word) {
  address.bytes[2 * i] = static_cast<std::uint8_t>(word >> 8);
  address.bytes[2 * i + 1] = static_cast<std::uint8_t>(word);
}

std::uint32_t word32(const Address& address) {
  return word16(address, 0) << 16 | word16(address, 1);
}

}  // namespace

std::optional<Alias> Alias::of(const Address& address) {
  const auto from = [](std::uint32_t value) {
    return Alias{value >> MT_ALIAS_SLOT_SHIFT & MT_ALIAS_SLOT_MASK,
                 value >> MT_ALIAS_GENERATION_SHIFT & MT_ALIAS_GENERATION_MASK,
                 value & MT_ALIAS_INDEX_MASK};
  };
  if (address.family == AF_INET) {
    const std::uint32_t value = word32(address);
    if ((value & MT_ALIAS_V4_MASK) != MT_ALIAS_V4) {
      return std::nullopt;
    }
    return from(value & ~MT_ALIAS_V4_MASK);
  }
  if (word16(address, 0) != MT_ALIAS_V6) {
    return std::nullopt;
  }
  return from(word16(address, 1) << 16 | word16(address, 2));
}

std::uint32_t Alias::value() const {
  return slot << MT_ALIAS_SLOT_SHIFT | generation << MT_ALIAS_GENERATION_SHIFT | index;
}

Address Alias::v4() const {
  const std::uint32_t word = htonl(MT_ALIAS_V4 | value());
  Address address{AF_INET, {}};
  std::memcpy(address.bytes.data(), &word, sizeof(word));
  return address;
}

Address Alias::v6(const Address& guest) const {
  Address alias = guest;
  set_word16(alias, 0, MT_ALIAS_V6);
  set_word16(alias, 1, value() >> 16);
  set_word16(alias, 2, value() & 0xffff);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    sum += word16(guest, i);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    sum += 0xffff - word16(alias, i);
  }
  while (sum > 0xffff) {
    sum = (sum >> 16) + (sum & 0xffff);
  }
  set_word16(alias, 3, sum);
  return alias;
}

}  // namespace metatap::dataplane
