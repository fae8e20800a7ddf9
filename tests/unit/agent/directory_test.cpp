// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "agent/inventory_directory.hpp"

namespace metatap::agent {
namespace {

std::shared_ptr<Port> port(std::string id, std::string network, std::string address,
                           std::string device, std::string mac = "fa:16:3e:00:00:01") {
  auto made = std::make_shared<Port>();
  made->id = std::move(id);
  made->network_id = std::move(network);
  made->fixed_ips = {{"s", std::move(address)}};
  made->mac_address = std::move(mac);
  made->device_id = std::move(device);
  made->project_id = "p-" + made->device_id;
  return made;
}

/// Commits and follows them, and checks that following gives what rebuilding would.
class Follower : public testing::Test {
 protected:
  void commit(const std::function<void(Inventory&)>& change, std::vector<std::string> ports,
              std::vector<std::string> networks = {}, std::vector<std::string> routers = {}) {
    auto after = std::make_shared<Inventory>(*state);
    change(*after);
    ++after->revision;
    directory.apply({.before = state,
                     .after = after,
                     .networks = std::move(networks),
                     .subnets = {},
                     .routers = std::move(routers),
                     .ports = std::move(ports),
                     .instances = {}});
    state = after;
  }
  std::string by_address(std::string_view network, std::string_view address) const {
    const auto found = directory.known({.network_id = network, .address = address});
    return found ? found->instance_id : "";
  }
  std::string by_router(std::string_view router, std::string_view address) const {
    const auto found = directory.known({.router_id = router, .address = address});
    return found ? found->instance_id : "";
  }
  std::string by_port(std::string_view id) const {
    const auto found = directory.known({.port_id = id});
    return found ? found->instance_id : "";
  }
  std::shared_ptr<const Inventory> state = std::make_shared<Inventory>();
  InventoryDirectory directory;
};

TEST(InventoryDirectory, DoesNotSayThatAPortIsAbsentWhileItCannotKnow) {
  bool complete = false;
  Inventory inventory;
  inventory.ports["a"] = port("a", "n1", "10.0.0.1", "vm1");
  const InventoryDirectory directory(inventory, [&] { return complete; });
  EXPECT_TRUE(directory.known({.port_id = "a"}));
  EXPECT_EQ(directory.known({.port_id = "b"}).error().code, ErrorCode::unavailable);
  complete = true;
  EXPECT_EQ(directory.known({.port_id = "b"}).error().code, ErrorCode::not_found);
}

TEST_F(Follower, APortComesMovesAndGoes) {
  commit([](Inventory& i) { i.ports["a"] = port("a", "n1", "10.0.0.1", "vm1"); }, {"a"});
  EXPECT_EQ(by_port("a"), "vm1");
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "vm1");
  EXPECT_EQ(by_address("n1", "fe80::f816:3eff:fe00:1"), "vm1");
  EXPECT_EQ(by_address("n2", "10.0.0.1"), "");
  commit([](Inventory& i) { i.ports["a"] = port("a", "n1", "10.0.0.2", "vm2"); }, {"a"});
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "");
  EXPECT_EQ(by_address("n1", "10.0.0.2"), "vm2");
  commit([](Inventory& i) { i.ports.erase("a"); }, {"a"});
  EXPECT_EQ(by_port("a"), "");
  EXPECT_EQ(by_address("n1", "10.0.0.2"), "");
  EXPECT_EQ(by_address("n1", "fe80::f816:3eff:fe00:1"), "");
  EXPECT_EQ(directory.ports(), 0U);
}

TEST_F(Follower, TwoPortsWithOneAddressAreNobody) {
  commit(
      [](Inventory& i) {
        i.ports["a"] = port("a", "n1", "10.0.0.1", "vm1", "fa:16:3e:00:00:01");
        i.ports["b"] = port("b", "n1", "10.0.0.1", "vm2", "fa:16:3e:00:00:02");
      },
      {"a", "b"});
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "");
  EXPECT_EQ(by_address("n1", "fe80::f816:3eff:fe00:2"), "vm2");
  EXPECT_EQ(by_port("a"), "vm1");
  commit([](Inventory& i) { i.ports.erase("b"); }, {"b"});
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "vm1");
}

TEST_F(Follower, AnUnboundPortStillMakesAnAddressAmbiguous) {
  commit(
      [](Inventory& i) {
        i.ports["a"] = port("a", "n1", "10.0.0.1", "vm1");
        i.ports["b"] = port("b", "n1", "10.0.0.1", "", "fa:16:3e:00:00:02");
      },
      {"a", "b"});
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "");
  EXPECT_EQ(by_port("b"), "");
}

TEST_F(Follower, ARouterSeesItsNetworksOnly) {
  const auto interface = [](std::string id, std::string network, std::string owner) {
    auto made = port(std::move(id), std::move(network), "10.0.0.254", "r1", "fa:16:3e:00:00:fe");
    made->device_owner = std::move(owner);
    return made;
  };
  commit(
      [&](Inventory& i) {
        i.ports["a"] = port("a", "n1", "10.0.0.1", "vm1");
        i.ports["b"] = port("b", "n2", "10.0.0.1", "vm2");
        i.ports["c"] = port("c", "n3", "10.0.0.3", "vm3");
        i.ports["d"] = port("d", "n4", "10.0.0.4", "vm4");
        i.ports["i1"] = interface("i1", "n1", "network:router_interface");
        i.ports["i1b"] = interface("i1b", "n1", "network:router_interface");
        i.ports["i3"] = interface("i3", "n3", "network:ha_router_replicated_interface");
        i.ports["i4"] = interface("i4", "n4", "network:router_gateway");
      },
      {"a", "b", "c", "d", "i1", "i1b", "i3", "i4"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "vm1") << "two interfaces in one network are one network";
  EXPECT_EQ(by_router("r1", "10.0.0.3"), "vm3");
  EXPECT_EQ(by_router("r1", "10.0.0.4"), "") << "the gateway's network is not behind the router";
  EXPECT_EQ(by_router("r2", "10.0.0.1"), "");
  commit(
      [&](Inventory& i) {
        i.ports["i2"] = interface("i2", "n2", "network:router_interface_distributed");
      },
      {"i2"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "") << "one address in two networks of the router";
  commit([](Inventory& i) { i.ports.erase("i1"); }, {"i1"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "") << "i1b still joins n1";
  commit([](Inventory& i) { i.ports.erase("i1b"); }, {"i1b"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "vm2");
}

TEST_F(Follower, HonoursAdministrativeStates) {
  auto network = std::make_shared<Network>();
  network->id = "n1";
  auto router = std::make_shared<Router>();
  router->id = "r1";
  commit(
      [&](Inventory& i) {
        i.networks["n1"] = network;
        i.routers["r1"] = router;
        i.ports["a"] = port("a", "n1", "10.0.0.1", "vm1");
        auto interface = port("i", "n1", "10.0.0.254", "r1", "fa:16:3e:00:00:fe");
        interface->device_owner = "network:router_interface";
        i.ports["i"] = interface;
      },
      {"a", "i"}, {"n1"}, {"r1"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "vm1");
  auto off = std::make_shared<Network>(*network);
  off->admin_state_up = false;
  commit([&](Inventory& i) { i.networks["n1"] = off; }, {}, {"n1"});
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "");
  EXPECT_EQ(by_port("a"), "");
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "");
  commit([&](Inventory& i) { i.networks["n1"] = network; }, {}, {"n1"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "vm1");
  auto router_off = std::make_shared<Router>(*router);
  router_off->admin_state_up = false;
  commit([&](Inventory& i) { i.routers["r1"] = router_off; }, {}, {}, {"r1"});
  EXPECT_EQ(by_router("r1", "10.0.0.1"), "");
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "vm1");
  auto port_off = port("a", "n1", "10.0.0.1", "vm1");
  port_off->admin_state_up = false;
  commit([&](Inventory& i) { i.ports["a"] = port_off; }, {"a"});
  EXPECT_EQ(by_address("n1", "10.0.0.1"), "");
}

TEST_F(Follower, AddressesAreComparedByValue) {
  commit([](Inventory& i) { i.ports["a"] = port("a", "n1", "2001:DB8:0::1", "vm1"); }, {"a"});
  EXPECT_EQ(by_address("n1", "2001:db8::1"), "vm1");
}

TEST_F(Follower, AQuestionWithBothOrNoPlaceIsNobody) {
  commit([](Inventory& i) { i.ports["a"] = port("a", "n1", "10.0.0.1", "vm1"); }, {"a"});
  EXPECT_FALSE(directory.known({.network_id = "n1", .router_id = "r1", .address = "10.0.0.1"}));
  EXPECT_FALSE(directory.known({.address = "10.0.0.1"}));
  EXPECT_FALSE(directory.known({.network_id = "n1", .address = "x"}));
  const std::string long_id(4096, 'n');
  EXPECT_EQ(by_address(long_id, "10.0.0.1"), "");
}

TEST_F(Follower, FollowingEqualsRebuilding) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const auto id = "port" + std::to_string(random() % 20);
    commit(
        [&](Inventory& i) {
          if (random() % 3 == 0) {
            i.ports.erase(id);
          } else {
            auto made = port(id, "n" + std::to_string(random() % 3),
                             "10.0.0." + std::to_string(random() % 8), "vm" + id,
                             "fa:16:3e:00:00:0" + std::to_string(random() % 8));
            if (random() % 4 == 0) {
              made->device_owner = "network:router_interface";
              made->device_id = "r" + std::to_string(random() % 2);
            }
            i.ports[id] = made;
          }
        },
        {id});
    const InventoryDirectory rebuilt(*state);
    ASSERT_EQ(directory.ports(), rebuilt.ports());
    for (const auto* network : {"n0", "n1", "n2"}) {
      for (int host = 0; host < 8; ++host) {
        const auto address = "10.0.0." + std::to_string(host);
        const DirectoryQuery query{.network_id = network, .address = address};
        const auto one = directory.known(query);
        const auto two = rebuilt.known(query);
        ASSERT_EQ(one ? one->instance_id : "", two ? two->instance_id : "");
      }
    }
    for (const auto* router : {"r0", "r1"}) {
      for (int host = 0; host < 8; ++host) {
        const auto address = "10.0.0." + std::to_string(host);
        const DirectoryQuery query{.router_id = router, .address = address};
        const auto one = directory.known(query);
        const auto two = rebuilt.known(query);
        ASSERT_EQ(one ? one->instance_id : "", two ? two->instance_id : "");
      }
    }
  }
}

TEST(Locator, TreatsAddressesAsNeutronDoes) {
  EXPECT_EQ(Locator::of_address("fe80::f816:3eff:fe00:1")->str(), "fa:16:3e:00:00:01");
  EXPECT_EQ(Locator::of_address("fe80::99")->str(), "02:00:00:00:00:99");
  EXPECT_EQ(Locator::of_address("fe80::5054:ff:fede:5bbf")->str(), "52:54:00:de:5b:bf");
  EXPECT_EQ(Locator::of_address("::ffff:192.0.2.1")->str(), "192.0.2.1");
  EXPECT_EQ(Locator::of_address("2001:DB8::1")->str(), "2001:db8::1");
  EXPECT_EQ(Locator::of_fixed_ip("fe80::99")->str(), "fe80::99");
  for (const auto* text : {"", "192.0.2", "192.0.2.1:80", "fe80::1%1", "[::1]", "192.0.2.1 x",
                           "256.0.0.1", "::ffff:1.2.3.4.5"}) {
    EXPECT_FALSE(Locator::of_address(text)) << text;
  }
  EXPECT_FALSE(Locator::of_address(std::string_view("192.0.2.1\0x", 11)));
  for (const auto* text : {"FA:16:3e:00:00:01", "fa-16-3e-00-00-01"}) {
    EXPECT_EQ(Locator::of_mac(text)->str(), "fa:16:3e:00:00:01");
  }
  for (const auto* text :
       {"", "fa:16:3e:00:00", "fa163e000001", "fa:16:3e:00:00:0g", "fa:16:3e:00:00:-1"}) {
    EXPECT_FALSE(Locator::of_mac(text)) << text;
  }
}

}  // namespace
}  // namespace metatap::agent
