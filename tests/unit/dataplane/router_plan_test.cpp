// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "dataplane/guest_socket.hpp"
#include "dataplane/router_place.hpp"
#include "metatap/abi/abi.h"
#include "unit/dataplane/router_sample.hpp"

namespace metatap::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PortIndex index_of(const Inventory& inventory) {
  return PortIndex(std::make_shared<const Inventory>(inventory));
}

std::vector<sys::Link> links(std::vector<std::string> names) {
  std::vector<sys::Link> all;
  for (auto& name : names) {
    sys::Link link;
    link.index = static_cast<unsigned>(all.size() + 1);
    link.name = std::move(name);
    all.push_back(std::move(link));
  }
  return all;
}

const PlaceName kRouterPlace{Path::router, kRouter};
const PlaceName kDhcpPlace{Path::dhcp, kNet};

TEST(PlaceName, KnowsNeutronsNamespaces) {
  EXPECT_EQ(PlaceName::of("qrouter-abc"), (PlaceName{Path::router, "abc"}));
  EXPECT_EQ(PlaceName::of("qdhcp-abc"), (PlaceName{Path::dhcp, "abc"}));
  for (const auto* other : {"qrouter-", "snat-abc", "fip-abc", "ovnmeta-abc", "", "router-abc"}) {
    EXPECT_FALSE(PlaceName::of(other)) << other;
  }
}

TEST(RouterPlan, ServesTheGuestsBehindARoutersPort) {
  const auto plan = plan_place(index_of(sample()), kRouterPlace,
                               links({"lo", "qr-aaaaaaaa-aa", "qg-cccccccc-cc", "ha-dddddddd-dd"}));
  ASSERT_EQ(plan.state, PlaceState::served);
  EXPECT_THAT(plan.problems, IsEmpty());
  ASSERT_EQ(plan.devices.size(), 1U);
  const auto& device = plan.devices[0];
  EXPECT_EQ(device.name, "qr-aaaaaaaa-aa");
  EXPECT_EQ(device.ifindex, 2U);
  EXPECT_EQ(device.network_id, kNet);
  EXPECT_EQ(device.router_id, kRouter);
  EXPECT_TRUE(device.enabled);
  EXPECT_FALSE(device.v6);
  ASSERT_EQ(device.sources.size(), 1U);  // the interface itself is no guest
  EXPECT_EQ(device.sources[0].port_id, kGuest);
  EXPECT_THAT(device.sources[0].addresses, ElementsAre(*Address::parse("10.0.0.10")));
}

TEST(RouterPlan, BehindADhcpServerIpv6NeedsNoSubnet) {
  auto found = links({"lo", "tapcccccccc-cc"});
  const auto index = index_of(sample());
  ASSERT_FALSE(index.has_v6(kNet));
  ASSERT_EQ(plan_place(index, kDhcpPlace, found).devices.size(), 1U);
  EXPECT_TRUE(plan_place(index, kDhcpPlace, found).devices[0].v6);
  found.back().mtu = 1280;
  EXPECT_TRUE(plan_place(index, kDhcpPlace, found).devices[0].v6);
  found.back().mtu = 1279;
  EXPECT_FALSE(plan_place(index, kDhcpPlace, found).devices[0].v6) << "too small for IPv6";
}

TEST(RouterPlan, APortsOwnBudgetComesBeforeItsNetworks) {
  auto inventory = sample();
  Network network = *inventory.networks.at(kNet);
  network.access.syn_rate = 100;
  put(inventory.networks, network);
  const auto rate = [&] {
    const auto plan =
        plan_place(index_of(inventory), kRouterPlace, links({"lo", "qr-aaaaaaaa-aa"}));
    return plan.devices.at(0).sources.at(0).policy.syn_rate;
  };
  EXPECT_EQ(rate(), 100);
  Port guest = *inventory.ports.at(kGuest);
  guest.access.syn_rate = 0;
  put(inventory.ports, guest);
  EXPECT_EQ(rate(), 0) << "no limit";
}

TEST(RouterPlan, UnknownRouterOrNetworkIsNotServed) {
  const auto index = index_of(sample());
  EXPECT_EQ(plan_place(index, {Path::router, "nobody"}, {}).state, PlaceState::unknown);
  EXPECT_EQ(plan_place(index, {Path::dhcp, "nobody"}, {}).state, PlaceState::unknown);
  Place place;
  place.what = {Path::router, "nobody"};
  place.state = PlaceState::unknown;
  EXPECT_EQ(explain(place), "no router nobody in the inventory");
}

TEST(RouterPlan, RouterThatIsDownIsNotServed) {
  auto inventory = sample();
  put(inventory.routers, Router{kRouter, "", "", false});
  EXPECT_EQ(plan_place(index_of(inventory), kRouterPlace, {}).state, PlaceState::down);
}

TEST(RouterPlan, DevicesOfNobodyAndOfOthersAreNamed) {
  auto inventory = sample();
  put(inventory.ports, make_port("eeeeeeee-eeee-4000-8000-000000000001", kOther, "another-router",
                                 "network:router_interface", {}));
  const auto plan = plan_place(index_of(inventory), kRouterPlace,
                               links({"qr-ffffffff-ff", "qr-eeeeeeee-ee", "qr-x"}));
  EXPECT_THAT(plan.devices, IsEmpty());
  ASSERT_EQ(plan.problems.size(), 3U);
  EXPECT_EQ(plan.problems[0].state, DeviceState::unknown);
  EXPECT_EQ(explain(plan.problems[0], Path::router),
            "no port of the inventory begins with ffffffff-ff");
  EXPECT_EQ(plan.problems[1].state, DeviceState::foreign);
  EXPECT_THAT(explain(plan.problems[1], Path::router), HasSubstr("another-router"));
  EXPECT_EQ(plan.problems[2].state, DeviceState::unknown);
  EXPECT_THAT(explain(plan.problems[2], Path::router), HasSubstr("11 characters"));
}

TEST(RouterPlan, TwoPortsOfOnePrefixAreNobodys) {
  auto inventory = sample();
  put(inventory.ports, make_port("aaaaaaaa-aaff-4000-8000-000000000002", kOther, kRouter,
                                 "network:router_interface", {}));
  const auto plan = plan_place(index_of(inventory), kRouterPlace, links({"qr-aaaaaaaa-aa"}));
  EXPECT_THAT(plan.devices, IsEmpty());
  ASSERT_EQ(plan.problems.size(), 1U);
  EXPECT_THAT(explain(plan.problems[0], Path::router), HasSubstr("2 ports"));
}

TEST(RouterPlan, DhcpNamespaceNamesTheNetworkItself) {
  const auto plan =
      plan_place(index_of(sample()), kDhcpPlace, links({"lo", "tap12345678-90", "ns-12345678-91"}));
  ASSERT_EQ(plan.devices.size(), 2U);
  EXPECT_EQ(plan.devices[0].network_id, kNet);
  EXPECT_EQ(plan.devices[0].router_id, "");
  EXPECT_EQ(plan.devices[0].port_id, "");
  EXPECT_EQ(plan.devices[0].sources.size(), 1U);
}

TEST(RouterPlan, AdminStateOfNetworkAndPort) {
  auto inventory = sample();
  put(inventory.networks, Network{kNet, "", "", {}, false});
  auto plan = plan_place(index_of(inventory), kRouterPlace, links({"qr-aaaaaaaa-aa"}));
  EXPECT_FALSE(plan.devices.at(0).enabled);
  inventory = sample();
  auto port = *inventory.ports[kGuest];
  port.admin_state_up = false;
  put(inventory.ports, port);
  plan = plan_place(index_of(inventory), kRouterPlace, links({"qr-aaaaaaaa-aa"}));
  EXPECT_TRUE(plan.devices.at(0).enabled);
  EXPECT_FALSE(plan.devices.at(0).sources.at(0).enabled);
}

TEST(RouterPlan, AnAddressOfSeveralPortsIsNobodys) {
  auto inventory = sample();
  put(inventory.ports, make_port("cccccccc-cccc-4000-8000-000000000001", kNet, "instance2",
                                 "compute:nova", {"10.0.0.10", "10.0.0.11"}));
  const auto plan = plan_place(index_of(inventory), kRouterPlace, links({"qr-aaaaaaaa-aa"}));
  ASSERT_EQ(plan.devices.at(0).sources.size(), 2U);
  EXPECT_THAT(plan.devices[0].sources[0].addresses, IsEmpty());
  EXPECT_THAT(plan.devices[0].sources[1].addresses, ElementsAre(*Address::parse("10.0.0.11")));
}

TEST(PortIndex, FollowsAChange) {
  const auto before = std::make_shared<const Inventory>(sample());
  PortIndex index(before);
  auto next = sample();
  next.ports.erase(kGuest);
  put(next.ports, make_port("dddddddd-dddd-4000-8000-000000000001", kNet, "i", "compute:nova", {}));
  Subnet v6;
  v6.id = "subnet";
  v6.network_id = kNet;
  v6.ip_version = 6;
  put(next.subnets, v6);
  const auto after = std::make_shared<const Inventory>(next);
  index.apply(
      {before, after, {}, {"subnet"}, {}, {kGuest, "dddddddd-dddd-4000-8000-000000000001"}, {}});
  EXPECT_FALSE(index.ports_of(kNet).contains(kGuest));
  EXPECT_TRUE(index.ports_of(kNet).contains("dddddddd-dddd-4000-8000-000000000001"));
  EXPECT_TRUE(index.has_v6(kNet));
  EXPECT_THAT(index.ports_named("bbbbbbbb-bb"), IsEmpty());
  index.apply(
      {after, before, {}, {"subnet"}, {}, {kGuest, "dddddddd-dddd-4000-8000-000000000001"}, {}});
  EXPECT_TRUE(index.ports_of(kNet).contains(kGuest));
  EXPECT_FALSE(index.has_v6(kNet));
}

TEST(LinkLocal, IsWhatTheMacMakes) {
  EXPECT_EQ(link_local_of(*parse_mac("fa:16:3e:00:00:01")).text(), "fe80::f816:3eff:fe00:1");
}

/// The sum of its 16-bit words, as checksums have it.
unsigned sum(const Address& address) {
  unsigned total = 0;
  for (std::size_t i = 0; i < address.size(); i += 2) {
    total += static_cast<unsigned>(address.bytes[i]) << 8 | address.bytes[i + 1];
  }
  while (total > 0xffff) {
    total = (total & 0xffff) + (total >> 16);
  }
  return total;
}

TEST(InnerAddresses, ChangeNoChecksum) {
  EXPECT_EQ(inner_v4().text(), "240.254.98.254");
  EXPECT_EQ(inner_v6().text(), "fd6d:6574:6174:6170:d8b9:0:a9fe:a9fe");
  EXPECT_EQ(sum(inner_v4()), sum(metadata_v4()));
  EXPECT_EQ(sum(inner_v6()), sum(metadata_v6()));
}

}  // namespace
}  // namespace metatap::dataplane
