// SPDX-License-Identifier: Apache-2.0
#include "inventory/port_index.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "inventory/difference.hpp"

namespace metatap {
namespace {

using By = PortIndex::By;
using testing::ElementsAre;
using testing::IsEmpty;

std::shared_ptr<Port> port(std::string id) {
  auto port = std::make_shared<Port>();
  port->id = std::move(id);
  port->network_id = "n";
  return port;
}

std::multiset<std::string> found(const PortIndex& index, By by, std::string_view scope,
                                 std::string_view value) {
  std::multiset<std::string> ids;
  index.each(by, scope, value, [&](const Port& port) { ids.insert(port.id); });
  return ids;
}

TEST(PortIndex, FindsAPortByAllThatOneAloneMayHave) {
  Inventory inventory;
  auto one = port("a");
  one->mac_address = "02:00:00:00:00:01";
  one->device_id = "i";
  one->device = "tap0";
  one->vlan = 7;
  one->fixed_ips = {{"s", "10.0.0.1"}, {"s", "10.0.0.2"}};
  inventory.ports["a"] = one;
  inventory.ports["b"] = port("b");
  const PortIndex index(inventory);
  EXPECT_THAT(found(index, By::owner, "", "i"), ElementsAre("a"));
  EXPECT_THAT(found(index, By::mac, "n", "02:00:00:00:00:01"), ElementsAre("a"));
  EXPECT_THAT(found(index, By::address, "n", "10.0.0.2"), ElementsAre("a"));
  EXPECT_THAT(found(index, By::device, "7", "tap0"), ElementsAre("a"));
  EXPECT_THAT(found(index, By::device, "", "tap0"), IsEmpty()) << "another VLAN of it";
  EXPECT_THAT(found(index, By::mac, "m", "02:00:00:00:00:01"), IsEmpty()) << "another network";
  EXPECT_THAT(found(index, By::owner, "", ""), IsEmpty());
}

/// Few values, so that ports often have the same: an index says what is, not what may be.
std::shared_ptr<Port> random_port(std::string id, std::mt19937& random) {
  const auto one_of = [&](const char* what) { return what + std::to_string(random() % 3); };
  auto made = port(std::move(id));
  made->network_id = one_of("n");
  made->mac_address = random() % 4 == 0 ? "" : one_of("mac");
  made->device_id = random() % 4 == 0 ? "" : one_of("i");
  for (auto count = random() % 3; count > 0; --count) {
    made->fixed_ips.push_back({"s", one_of("10.0.0.")});
  }
  if (random() % 2 == 0) {
    made->device = one_of("tap");
    made->vlan = random() % 2 == 0 ? std::optional<std::uint16_t>(7) : std::nullopt;
  }
  return made;
}

TEST(PortIndex, FollowedIsAsMadeAnew) {
  std::mt19937 random(20261126);
  auto now = std::make_shared<const Inventory>();
  PortIndex followed(*now);
  for (int round = 0; round < 2'000; ++round) {
    auto next = std::make_shared<Inventory>(*now);
    for (auto count = random() % 3; count > 0; --count) {
      const auto id = std::string(1, static_cast<char>('a' + random() % 8));
      if (random() % 3 == 0) {
        next->ports.erase(id);
      } else {
        next->ports[id] = random_port(id, random);
      }
    }
    followed.follow(difference(now, next));
    now = next;
    const PortIndex anew(*now);
    for (const std::string digit : {"0", "1", "2"}) {
      for (const std::string network : {"n0", "n1", "n2"}) {
        ASSERT_EQ(found(followed, By::mac, network, "mac" + digit),
                  found(anew, By::mac, network, "mac" + digit));
        ASSERT_EQ(found(followed, By::address, network, "10.0.0." + digit),
                  found(anew, By::address, network, "10.0.0." + digit));
      }
      for (const std::string vlan : {"", "7"}) {
        ASSERT_EQ(found(followed, By::device, vlan, "tap" + digit),
                  found(anew, By::device, vlan, "tap" + digit));
      }
      ASSERT_EQ(found(followed, By::owner, "", "i" + digit),
                found(anew, By::owner, "", "i" + digit));
    }
  }
}

}  // namespace
}  // namespace metatap
