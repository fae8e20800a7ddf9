// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tap_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace metatap::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kA = "aaaaaaaa-1111-4000-8000-000000000001";
constexpr const char* kB = "bbbbbbbb-2222-4000-8000-000000000002";
constexpr const char* kNet = "22222222-0000-4000-8000-000000000001";
const TapPoint kTapA{"tapaaaaaaaa-11", 0};

Port port(std::string id, std::string mac = "fa:16:3e:00:00:10") {
  Port made;
  made.id = std::move(id);
  made.network_id = kNet;
  made.mac_address = std::move(mac);
  made.device_owner = "compute:nova";
  made.fixed_ips = {{"", "10.0.0.10"}};
  return made;
}

void put(Inventory& inventory, Port made) {
  const auto id = made.id;
  inventory.ports[id] = std::make_shared<const Port>(std::move(made));
}

TapIndex index_of(const Inventory& inventory, std::string host = {}) {
  return TapIndex(std::make_shared<const Inventory>(inventory), std::move(host));
}

TEST(TapPlan, NamesTheDeviceByThePortsIdAsNeutronDoes) {
  Inventory inventory;
  put(inventory, port(kA));
  auto router = port(kB);
  router.device_owner = "network:router_interface";
  put(inventory, router);
  const auto index = index_of(inventory);
  EXPECT_EQ(index.claims().size(), 1U) << "a router's port is no guest";
  const auto plan = plan_tap(index, kTapA, {5, {}}, "", {});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->port_id, kA);
  EXPECT_TRUE(plan->enabled);
  EXPECT_EQ(plan->row.ifindex, 5U);
  EXPECT_STREQ(plan->row.port_id, kA);
  EXPECT_FALSE(plan_tap(index, {"tapother", 0}, {5, {}}, "", {}));
}

TEST(TapPlan, WhoHasThePointKeepsIt) {
  Inventory inventory;
  auto one = port(kA), two = port(kB);
  one.device = two.device = "vnet1";
  put(inventory, one);
  put(inventory, two);
  const auto index = index_of(inventory);
  EXPECT_EQ(plan_tap(index, {"vnet1", 0}, {5, {}}, "", {})->port_id, kA);
  EXPECT_EQ(plan_tap(index, {"vnet1", 0}, {5, {}}, kB, {})->port_id, kB);
  EXPECT_EQ(plan_tap(index, {"vnet1", 0}, {5, {}}, "somebody who is gone", {})->port_id, kA);
}

TEST(TapPlan, WhatIsSaidOfForwardedConnections) {
  Inventory inventory;
  DataPlaneOptions options;
  const auto flags = [&](std::optional<ForwardedInside> of_network,
                         std::optional<ForwardedInside> of_port) {
    Network network;
    network.id = kNet;
    network.access.forwarded_inside = of_network;
    inventory.networks[kNet] = std::make_shared<const Network>(network);
    auto made = port(kA);
    made.access.forwarded_inside = of_port;
    put(inventory, made);
    return plan_tap(index_of(inventory), kTapA, {5, {}}, "", options)->row.flags;
  };
  using enum ForwardedInside;
  EXPECT_EQ(flags({}, {}), 0U);
  EXPECT_EQ(flags(refuse, {}), MT_SLOT_REFUSE_FORWARDED);
  EXPECT_EQ(flags(refuse, allow), MT_SLOT_ALLOW_FORWARDED);
  EXPECT_EQ(flags(refuse, count), 0U);
  options.forwarded_inside = refuse;
  EXPECT_EQ(flags({}, {}), MT_SLOT_REFUSE_FORWARDED);
  EXPECT_EQ(flags(allow, {}), MT_SLOT_ALLOW_FORWARDED);
}

TEST(TapPlan, APortsOwnBudgetComesBeforeItsNetworks) {
  Inventory inventory;
  const auto row = [&](std::optional<std::uint16_t> of_network,
                       std::optional<std::uint16_t> of_port) {
    Network network;
    network.id = kNet;
    network.access.syn_rate = of_network;
    inventory.networks[kNet] = std::make_shared<const Network>(network);
    auto made = port(kA);
    made.access.syn_rate = of_port;
    put(inventory, made);
    return plan_tap(index_of(inventory), kTapA, {5, {}}, "", {})->row;
  };
  EXPECT_EQ(row({}, {}).syn_rate, 0);
  EXPECT_EQ(row({}, {}).flags, 0U);
  EXPECT_EQ(row(100, {}).syn_rate, 100);
  EXPECT_EQ(row(100, 200).syn_rate, 200);
  EXPECT_EQ(row(100, 0).flags, MT_SLOT_NO_BUDGET);
  EXPECT_EQ(row(0, 200).flags, 0U);
}

TEST(TapPlan, AdminStateOfPortAndNetwork) {
  Inventory inventory;
  put(inventory, port(kA));
  inventory.networks[kNet] = std::make_shared<const Network>(Network{kNet, "", "", {}, false});
  auto plan = plan_tap(index_of(inventory), kTapA, {5, {}}, "", {});
  EXPECT_FALSE(plan->enabled);
  EXPECT_NE(plan->row.flags & MT_SLOT_DISABLED, 0U);
  inventory.networks.erase(kNet);
  auto down = port(kA);
  down.admin_state_up = false;
  put(inventory, down);
  EXPECT_FALSE(plan_tap(index_of(inventory), kTapA, {5, {}}, "", {})->enabled);
}

TEST(TapPlan, APortsOwnWordOnWhenDownComesBeforeTheConfigurations) {
  const auto refuses = [](std::optional<WhenDown> own, WhenDown all) {
    Inventory inventory;
    auto one = port(kA);
    one.treatment.when_down = own;
    put(inventory, one);
    DataPlaneOptions options;
    options.when_down = all;
    const auto plan = plan_tap(index_of(inventory), kTapA, {5, {}}, "", options);
    return (plan->row.flags & MT_SLOT_REFUSE_DOWN) != 0;
  };
  EXPECT_TRUE(refuses(WhenDown::refuse, WhenDown::pass));
  EXPECT_FALSE(refuses(WhenDown::pass, WhenDown::refuse));
  EXPECT_TRUE(refuses(std::nullopt, WhenDown::refuse));
  EXPECT_FALSE(refuses(std::nullopt, WhenDown::pass));
}

TEST(TapPlan, ADeviceThatWasGivenAnotherGuestsMacIsForeign) {
  Inventory inventory;
  put(inventory, port(kA, "fa:16:3e:00:00:10"));
  const auto index = index_of(inventory);
  const auto given = [](const char* mac) { return TapDevice{5, *parse_mac(mac)}; };
  EXPECT_FALSE(plan_tap(index, kTapA, given("fe:16:3e:00:00:10"), "", {})->foreign);
  EXPECT_TRUE(plan_tap(index, kTapA, given("fe:16:3e:00:00:11"), "", {})->foreign);
}

TEST(TapPlan, PointsOfATrunkStandAndFallWithItsUntaggedPort) {
  Inventory inventory;
  auto trunk = port(kA, "fa:16:3e:00:00:10"), sub = port(kB, "fa:16:3e:00:00:99");
  trunk.device = sub.device = "vnet1";
  sub.vlan = 100;
  put(inventory, trunk);
  put(inventory, sub);
  const auto index = index_of(inventory);
  EXPECT_THAT(index.points_of("vnet1"), ElementsAre(TapPoint{"vnet1", 0}, TapPoint{"vnet1", 100}));
  const TapDevice trunks{5, *parse_mac("fe:16:3e:00:00:10")};
  const TapDevice others{5, *parse_mac("fe:16:3e:00:00:77")};
  EXPECT_FALSE(plan_tap(index, {"vnet1", 100}, trunks, "", {})->foreign);
  EXPECT_TRUE(plan_tap(index, {"vnet1", 100}, others, "", {})->foreign);
}

TEST(TapIndex, OfAPortThatMovesTheOldDeviceComesFirst) {
  Inventory first;
  put(first, port(kA));
  const auto before = std::make_shared<const Inventory>(first);
  TapIndex index(before);
  auto moved = port(kA);
  moved.device = "another";
  Inventory second;
  put(second, moved);
  const auto after = std::make_shared<const Inventory>(second);
  EXPECT_THAT(index.apply({before, after, {}, {}, {}, {kA}, {}}),
              ElementsAre(kTapA.device, "another"));
  EXPECT_THAT(index.claims_of(kTapA), IsEmpty());
  EXPECT_THAT(index.claims_of({"another", 0}), ElementsAre(kA));
  EXPECT_THAT(index.apply({after, after, {kNet}, {}, {}, {}, {}}), ElementsAre("another"))
      << "its network changed";
}

// ---- ports of several hosts ----

constexpr const char* kHere = "h-1";
constexpr const char* kThere = "h-2";

Port bound(Port port, std::string host, std::string next_host = "") {
  port.host = std::move(host);
  port.next_host = std::move(next_host);
  return port;
}
Port plugged(const char* id, std::string device) {
  auto made = port(id);
  made.device = std::move(device);
  return made;
}

/// Whose the device is on the first host; empty: nobody's.
std::string owner(const std::vector<Port>& ports, const std::string& device,
                  std::string_view holder = "") {
  Inventory inventory;
  for (const auto& each : ports) {
    put(inventory, each);
  }
  const auto plan = plan_tap(index_of(inventory, kHere), {device, 0}, {5, {}}, holder, {});
  return plan ? plan->port_id : "";
}

TEST(TapPlan, OfPortsWithOneDeviceItIsTheOneBoundHere) {
  const auto here = bound(plugged(kB, "vnet0"), kHere);
  const auto there = bound(plugged(kA, "vnet0"), kThere);
  EXPECT_EQ(owner({here, there}, "vnet0"), kB);
  EXPECT_EQ(owner({here, there}, "vnet0", kA), kB) << "who has it has gone to another host";
  EXPECT_EQ(owner({bound(there, kThere, kHere)}, "vnet0"), kA) << "on its way here";
  EXPECT_EQ(owner({bound(here, kHere, kThere)}, "vnet0"), kB) << "until it has left";
  EXPECT_EQ(owner({bound(there, "")}, "vnet0"), kA) << "bound nowhere";
}

TEST(TapPlan, ADeviceIsNotGivenToAnotherHostsPort) {
  const auto there = bound(plugged(kA, "vnet0"), kThere);
  EXPECT_EQ(owner({there}, "vnet0"), "");
  EXPECT_EQ(owner({there}, "vnet0", kA), "");
  EXPECT_EQ(owner({bound(there, kThere, "h-3")}, "vnet0"), "");
  const auto index = [&] {
    Inventory inventory;
    put(inventory, there);
    return index_of(inventory, kHere);
  }();
  EXPECT_THAT(index.claims(), IsEmpty());
  EXPECT_EQ(index.claims_elsewhere().size(), 1U);
  ASSERT_NE(index.plugged(kA), nullptr);
  EXPECT_EQ(index.plugged(kA)->device, "vnet0");
  EXPECT_FALSE(index.may_be_here(kA));
}

TEST(TapPlan, WhereNobodySaysWhichHostThisIsEveryPortMayBeHere) {
  Inventory inventory;
  put(inventory, bound(plugged(kA, "vnet0"), kThere, "h-3"));
  const auto plan = plan_tap(index_of(inventory), {"vnet0", 0}, {5, {}}, "", {});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->port_id, kA);
}

/// There is one such device at a time, and it is the port's whatever its host is called.
TEST(TapPlan, ADeviceThatIsNamedByItsPortsIdIsItsOwnWhereverItIsBound) {
  EXPECT_EQ(owner({bound(port(kA), "h-1.example.org")}, kTapA.device), kA);
  EXPECT_EQ(owner({bound(plugged(kB, kTapA.device), kThere)}, kTapA.device), kB)
      << "as a trunk's are, which have their parent's";
  const auto here = bound(plugged(kB, kTapA.device), kHere);
  EXPECT_EQ(owner({bound(port(kA), kThere), here}, kTapA.device), kB);
  EXPECT_EQ(owner({bound(port(kA), kThere), here}, kTapA.device, kA), kB);
  EXPECT_EQ(owner({bound(port(kA), kThere), bound(plugged(kB, kTapA.device), "h-3")}, kTapA.device),
            "")
      << "nobody can tell whose it is";
  for (const auto* device : {"tapaaaaaaaa_11", "tapaaaaaaaa-1", "tapaaaaaaaa-1x", "tapAAAAAAAA-11",
                             "tipaaaaaaaa-11", "tapaaaaaaa-111"}) {
    EXPECT_EQ(owner({bound(plugged(kA, device), kThere)}, device), "") << device;
  }
}

TEST(TapIndex, FollowsAPortThatMigrates) {
  auto now = std::make_shared<const Inventory>();
  TapIndex here(now, kHere), there(now, kThere);
  const auto becomes = [&](std::optional<Port> port) {
    auto next = std::make_shared<Inventory>();
    if (port) {
      put(*next, *std::move(port));
    }
    const InventoryChange change{now, next, {}, {}, {}, {kA}, {}};
    now = next;
    return std::pair(here.apply(change), there.apply(change));
  };
  const auto vnet = plugged(kA, "vnet0");
  const std::vector<std::string> none, once{"vnet0"}, twice{"vnet0", "vnet0"};
  EXPECT_EQ(becomes(bound(vnet, kHere)), std::pair(once, none));
  EXPECT_EQ(becomes(bound(vnet, kHere, kThere)), std::pair(twice, once)) << "on both";
  EXPECT_EQ(becomes(bound(vnet, kThere)), std::pair(once, twice)) << "let go of here";
  EXPECT_THAT(here.claims(), IsEmpty());
  EXPECT_THAT(there.claims_of({"vnet0", 0}), ElementsAre(kA));
  EXPECT_EQ(becomes({}), std::pair(none, once));
  EXPECT_THAT(here.claims_elsewhere(), IsEmpty());
  EXPECT_EQ(here.plugged(kA), nullptr);
}

TEST(TapIndex, ANetworksChangeConcernsTheDevicesHereAlone) {
  Inventory inventory;
  put(inventory, bound(plugged(kA, "vnet0"), kThere));
  put(inventory, bound(plugged(kB, "vnet1"), kHere));
  auto index = index_of(inventory, kHere);
  const auto all = std::make_shared<const Inventory>(inventory);
  EXPECT_THAT(index.apply({all, all, {kNet}, {}, {}, {}, {}}), ElementsAre("vnet1"));
}

}  // namespace
}  // namespace metatap::dataplane
