// SPDX-License-Identifier: Apache-2.0
#include "dataplane/alias.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <random>

namespace metatap::dataplane {
namespace {

Address address(std::string_view text) {
  return Address::parse(text).value();
}

/// The Internet checksum's sum over an address (RFC 1071).
std::uint32_t sum(const Address& of) {
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < of.size(); i += 2) {
    total += static_cast<std::uint32_t>(of.bytes[i] << 8 | of.bytes[i + 1]);
  }
  while (total > 0xffff) {
    total = (total >> 16) + (total & 0xffff);
  }
  return total;
}

TEST(Alias, V4IsSlotGenerationAndIndexBelow240) {
  EXPECT_EQ((Alias{1, 0, 0}.v4().text()), "240.0.16.0");
  EXPECT_EQ((Alias{1, 2, 3}.v4().text()), "240.0.18.3");
  EXPECT_EQ((Alias{65535, 15, 255}.v4().text()), "255.255.255.255");
  EXPECT_EQ(*Alias::of(address("240.0.18.3")), (Alias{1, 2, 3}));
  EXPECT_FALSE(Alias::of(address("10.0.0.5")));
  EXPECT_FALSE(Alias::of(address("169.254.169.254")));
}

TEST(Alias, V6KeepsTheInterfaceIdAndTheSumOfEveryPrefix) {
  std::mt19937 random(1);  // NOLINT: the same addresses every time
  for (int i = 0; i < 20000; ++i) {
    Address guest{AF_INET6, {}};
    for (auto& byte : guest.bytes) {
      byte = static_cast<std::uint8_t>(i % 7 == 0 ? (random() & 1 ? 0xff : 0) : random());
    }
    const Alias alias{static_cast<std::uint32_t>(random()) & MT_ALIAS_SLOT_MASK,
                      static_cast<std::uint32_t>(random()) & MT_ALIAS_GENERATION_MASK,
                      static_cast<std::uint32_t>(random()) & MT_ALIAS_INDEX_MASK};
    const auto as_seen = alias.v6(guest);
    EXPECT_EQ(*Alias::of(as_seen), alias);
    EXPECT_EQ(std::memcmp(&as_seen.bytes[8], &guest.bytes[8], 8), 0);
    // Equal as one's complement numbers: 0 and 0xffff are the same.
    EXPECT_EQ(sum(as_seen) % 0xffff, sum(guest) % 0xffff) << guest.text();
    EXPECT_EQ(as_seen.bytes[0], 0xfd);
  }
}

}  // namespace
}  // namespace metatap::dataplane
