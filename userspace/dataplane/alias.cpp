// SPDX-License-Identifier: Apache-2.0
#include "dataplane/alias.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace metatap::dataplane {
namespace {

std::uint32_t word16(const sys::IpAddress& address, std::size_t i) {
  return static_cast<std::uint32_t>(address.bytes[2 * i] << 8 | address.bytes[2 * i + 1]);
}

void set_word16(sys::IpAddress& address, std::size_t i, std::uint32_t word) {
  address.bytes[2 * i] = static_cast<std::uint8_t>(word >> 8);
  address.bytes[2 * i + 1] = static_cast<std::uint8_t>(word);
}

std::uint32_t word32(const sys::IpAddress& address) {
  return word16(address, 0) << 16 | word16(address, 1);
}

}  // namespace

std::optional<Alias> Alias::of(const sys::IpAddress& address) {
  if (address.family == AF_INET) {
    const std::uint32_t value = word32(address);
    if ((value & MT_ALIAS_V4_MASK) != MT_ALIAS_V4) {
      return std::nullopt;
    }
    return Alias{(value & ~MT_ALIAS_V4_MASK) >> MT_ALIAS_V4_SHIFT,
                 value & ((1U << MT_ALIAS_V4_SHIFT) - 1)};
  }
  if (word16(address, 0) != MT_ALIAS_V6) {
    return std::nullopt;
  }
  const std::uint32_t value = word16(address, 1) << 16 | word16(address, 2);
  return Alias{value >> MT_ALIAS_V6_SHIFT, value & ((1U << MT_ALIAS_V6_SHIFT) - 1)};
}

sys::IpAddress Alias::v4() const {
  const std::uint32_t value = htonl(MT_ALIAS_V4 | slot << MT_ALIAS_V4_SHIFT | index);
  sys::IpAddress address{AF_INET, {}};
  std::memcpy(address.bytes.data(), &value, sizeof(value));
  return address;
}

sys::IpAddress Alias::v6(const sys::IpAddress& guest) const {
  const std::uint32_t value = slot << MT_ALIAS_V6_SHIFT | index;
  sys::IpAddress alias = guest;
  set_word16(alias, 0, MT_ALIAS_V6);
  set_word16(alias, 1, value >> 16);
  set_word16(alias, 2, value & 0xffff);
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

std::optional<sys::IpAddress> Alias::resolve(const sys::IpAddress& alias, const mt_slot& row) {
  const auto parts = of(alias);
  if (!parts) {
    return std::nullopt;
  }
  sys::IpAddress guest = alias;
  if (alias.family == AF_INET) {
    if (parts->index >= MT_V4_MAX || row.v4[parts->index] == 0) {
      return std::nullopt;
    }
    std::memcpy(guest.bytes.data(), &row.v4[parts->index], sizeof(row.v4[0]));
    return guest;
  }
  if (parts->index == MT_LINK_LOCAL) {
    std::fill_n(guest.bytes.begin(), 8, std::uint8_t{0});
    guest.bytes[0] = 0xfe;
    guest.bytes[1] = 0x80;
    return guest;
  }
  if (parts->index > MT_V6_MAX) {
    return std::nullopt;
  }
  const auto& own = row.v6[parts->index - 1];
  if (std::all_of(own, own + 8, [](std::uint8_t byte) { return byte == 0; })) {
    return std::nullopt;
  }
  std::copy_n(own, 8, guest.bytes.begin());
  return guest;
}

}  // namespace metatap::dataplane
