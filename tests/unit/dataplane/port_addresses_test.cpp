// SPDX-License-Identifier: Apache-2.0
#include "dataplane/port_addresses.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>
#include <set>
#include <string>

namespace metatap::dataplane {
namespace {

Address address(std::string_view text) {
  return Address::parse(text).value();
}

Port port_with(const std::vector<std::string>& fixed) {
  Port port;
  port.mac_address = "fa:16:3e:00:00:01";
  for (const auto& ip : fixed) {
    port.fixed_ips.push_back({"subnet", ip});
  }
  return port;
}

PortAddresses numbered(const Port& port, const PortAddresses& before = {}) {
  auto addresses = PortAddresses::of(port);
  addresses.number(before);
  return addresses;
}

std::uint32_t index_of(const PortAddresses& addresses, std::string_view text) {
  const auto* own = addresses.find(address(text));
  return own == nullptr ? ~0U : own->index;
}

TEST(PortAddresses, FixedOnesFirstAndWhatIsWhose) {
  auto port = port_with({"10.0.0.5", "2001:db8::5"});
  port.allowed_address_pairs = {{"10.0.0.9", "fa:16:3e:00:00:09"}, {"10.0.0.10/32", {}}};
  const auto addresses = numbered(port);
  EXPECT_EQ(addresses.first_fixed, "10.0.0.5");
  EXPECT_TRUE(addresses.find(AF_INET, 0)->fixed);
  EXPECT_EQ(addresses.find(AF_INET, 0)->address.text(), "10.0.0.5");
  EXPECT_FALSE(addresses.find(address("10.0.0.9"))->fixed);
  EXPECT_EQ(to_string(addresses.find(address("10.0.0.9"))->mac), "fa:16:3e:00:00:09");
  EXPECT_EQ(addresses.find(AF_INET6, 1)->address.text(), "2001:db8::5");
  EXPECT_EQ(addresses.find(AF_INET6, MT_LINK_LOCAL)->address.text(), "fe80::");
  EXPECT_EQ(index_of(addresses, "10.0.0.10"), 2U);
  EXPECT_EQ(addresses.further_macs.size(), 1U);
  EXPECT_FALSE(addresses.any_mac);
  EXPECT_TRUE(addresses.networks.empty());
}

TEST(PortAddresses, APairWithAPrefixAdmitsThatPrefixOnly) {
  auto port = port_with({"10.0.0.5"});
  port.allowed_address_pairs = {{"10.7.0.17/28", {}}, {"2001:db8:7::40/122", {}}};
  const auto addresses = numbered(port);
  for (const auto* inside : {"10.7.0.16", "10.7.0.31", "2001:db8:7::40", "2001:db8:7::7f"}) {
    EXPECT_TRUE(addresses.admits(address(inside))) << inside;
  }
  for (const auto* outside : {"10.7.0.15", "10.7.0.32", "10.0.0.6", "2001:db8:7::80", "::"}) {
    EXPECT_FALSE(addresses.admits(address(outside))) << outside;
  }
  EXPECT_EQ(addresses.networks[0].address.text(), "10.7.0.16") << "without host bits";
}

TEST(PortAddresses, AnAddressThatStaysKeepsItsIndexAndOneThatGoesLeavesItFree) {
  const auto before = numbered(port_with({"10.0.0.1", "10.0.0.2", "10.0.0.3"}));
  const auto after = numbered(port_with({"10.0.0.9", "10.0.0.3", "10.0.0.1"}), before);
  EXPECT_EQ(index_of(after, "10.0.0.1"), 0U);
  EXPECT_EQ(index_of(after, "10.0.0.3"), 2U);
  EXPECT_EQ(index_of(after, "10.0.0.9"), 3U)
      << "not the one that an open connection may still have";
}

TEST(PortAddresses, HundredsOfAddressesHaveAnIndexEachAndTheRestIsCounted) {
  std::vector<std::string> fixed;
  for (int i = 0; i < 200; ++i) {
    fixed.push_back("10.0.1." + std::to_string(i));
    fixed.push_back("2001:db8::" + std::to_string(i + 1));
  }
  const auto addresses = numbered(port_with(fixed));
  std::set<std::pair<int, std::uint32_t>> seen;
  for (const auto& own : addresses.addresses) {
    EXPECT_LT(own.index, static_cast<std::uint32_t>(MT_FIRST_LEARNED));
    EXPECT_TRUE(seen.emplace(own.address.family, own.index).second) << own.address.text();
  }
  EXPECT_EQ(seen.size(), 2U * MT_FIRST_LEARNED);
  EXPECT_EQ(addresses.left_out, 400 - (2U * MT_FIRST_LEARNED - 1));
  // All of them change at once: no index is free in both, so they are used again.
  std::vector<std::string> others;
  for (int i = 0; i < MT_FIRST_LEARNED; ++i) {
    others.push_back("10.0.2." + std::to_string(i));
  }
  const auto after = numbered(port_with(others), addresses);
  std::set<std::uint32_t> indices;
  for (const auto& own : after.addresses) {
    if (own.address.family == AF_INET) {
      indices.insert(own.index);
    }
  }
  EXPECT_EQ(indices.size(), static_cast<std::size_t>(MT_FIRST_LEARNED));
}

TEST(PortAddresses, OnlyWhatCanComeFromNoOtherMacNeedsNoSearch) {
  const auto first = [](const Port& port) {
    const auto value = numbered(port).first_v4();
    Address found{AF_INET, {}};
    std::memcpy(found.bytes.data(), &value, sizeof(value));
    return found.text();
  };
  auto port = port_with({"2001:db8::5", "10.0.0.5", "10.0.0.6"});
  EXPECT_EQ(first(port), "10.0.0.5");
  port.allowed_address_pairs = {{"10.0.0.9", "FA:16:3E:00:00:01"}};
  EXPECT_EQ(first(port), "10.0.0.5") << "its own";
  port.allowed_address_pairs = {{"10.0.0.9", "fa:16:3e:00:00:09"}};
  EXPECT_EQ(first(port), "0.0.0.0");
  port.allowed_address_pairs.clear();
  port.mac_policy = MacPolicy::any;
  EXPECT_EQ(first(port), "0.0.0.0");
  EXPECT_EQ(first(port_with({"2001:db8::5"})), "0.0.0.0");
}

TEST(PortAddresses, AnyMacOnlyWhereThePortSaysSoOrHasNone) {
  auto port = port_with({});
  EXPECT_FALSE(PortAddresses::of(port).any_mac);
  port.mac_policy = MacPolicy::any;
  EXPECT_TRUE(PortAddresses::of(port).any_mac);
  port.mac_policy = MacPolicy::own;
  port.mac_address.clear();
  EXPECT_TRUE(PortAddresses::of(port).any_mac);
}

}  // namespace
}  // namespace metatap::dataplane
