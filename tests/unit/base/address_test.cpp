// SPDX-License-Identifier: Apache-2.0
#include "metatap/address.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace metatap {
namespace {

TEST(Address, ReadsBothFamiliesAndNothingElse) {
  EXPECT_EQ(Address::parse("10.0.0.1")->family, AF_INET);
  EXPECT_EQ(Address::parse("FD00::0:1")->text(), "fd00::1");
  for (const auto* text : {"", "10.0.0.256", "10.0.0", "010.0.0.1x", "fe80::1%eth0", "10.0.0.1/32",
                           "::1::", "1.2.3.4 ", "host"}) {
    EXPECT_EQ(Address::parse(text), std::nullopt) << text;
  }
  EXPECT_EQ(Address::parse(std::string_view("10.0.0.1\0", 9)), std::nullopt);
}

TEST(Address, WritesEachAsItIsRead) {
  for (const auto* text : {"0.0.0.0", "9.10.99.100", "255.255.255.255", "169.254.169.254",
                           "::", "::1", "fe80::a9fe:a9fe", "2001:db8:0:1:1:1:1:1"}) {
    EXPECT_EQ(Address::parse(text)->text(), text);
  }
}

TEST(Address, TwoSpellingsAreOneValue) {
  EXPECT_EQ(Address::parse("fd00:0:0::1"), Address::parse("FD00::0001"));
  EXPECT_NE(Address::parse("::ffff:10.0.0.1"), Address::parse("10.0.0.1"));
  EXPECT_EQ(Address::parse("::ffff:10.0.0.1")->unmapped(), Address::parse("10.0.0.1"));
  EXPECT_EQ(Address::parse("fd00::1")->unmapped(), Address::parse("fd00::1"));
  EXPECT_EQ(Address::parse("10.0.0.1")->unmapped(), Address::parse("10.0.0.1"));
}

TEST(Address, KnowsLinkLocalOnes) {
  EXPECT_TRUE(Address::parse("fe80::1")->link_local());
  EXPECT_TRUE(Address::parse("febf::1")->link_local());
  EXPECT_FALSE(Address::parse("fec0::1")->link_local());
  EXPECT_FALSE(Address::parse("169.254.1.1")->link_local());
}

TEST(Prefix, ReadsAddressAndLength) {
  for (const auto* text :
       {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "fd00::/129", "/8"}) {
    EXPECT_EQ(Prefix::parse(text), std::nullopt) << text;
  }
  EXPECT_EQ(Prefix::parse("10.0.0.5/22")->text(), "10.0.0.5/22");
  EXPECT_EQ(Prefix::parse("10.0.3.5/22")->masked().text(), "10.0.0.0/22");
  EXPECT_EQ(Prefix::parse("fd00::ffff/113")->network().text(), "fd00::8000");
}

TEST(Prefix, ContainsItsOwnAndNoOther) {
  EXPECT_TRUE(Prefix::parse("10.70.0.0/22")->contains(*Address::parse("10.70.3.255")));
  EXPECT_FALSE(Prefix::parse("10.70.0.0/22")->contains(*Address::parse("10.70.4.0")));
  EXPECT_TRUE(Prefix::parse("::/0")->contains(*Address::parse("fd00::1")));
  EXPECT_FALSE(Prefix::parse("::/0")->contains(*Address::parse("10.0.0.1")));
  EXPECT_TRUE(Prefix::parse("10.0.0.1/32")->contains(*Address::parse("10.0.0.1")));
  EXPECT_FALSE(Prefix::parse("10.0.0.1/32")->contains(*Address::parse("10.0.0.2")));
}

TEST(Mac, ReadsSixOctetsAndWritesThemOneWay) {
  EXPECT_EQ(to_string(*parse_mac("FA-16-3e-00-00-0A")), "fa:16:3e:00:00:0a");
  for (const auto* text : {"", "fa:16:3e:00:00", "fa:16:3e:00:00:1g", "fa:16:3e:00:00:111",
                           "fa163e000001", "fa:16:3e:00:00:+1", "fa.16.3e.00.00.01"}) {
    EXPECT_EQ(parse_mac(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace metatap
