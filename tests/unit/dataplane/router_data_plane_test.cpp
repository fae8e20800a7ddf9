// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_data_plane.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "unit/dataplane/router_sample.hpp"
#include "unit/own_namespaces.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kName = std::string("qrouter-") + kRouter;
const std::string kListener = kName + "/169.254.169.254:80";

/// Where listeners go. It holds them open, as a worker does.
struct Frontend final : GuestFrontend {
  void open(GuestListener listener) override {
    auto name = listener.name;
    opened.push_back(name);
    here.insert_or_assign(std::move(name), std::move(listener));
  }
  void close(const std::string& name) override {
    closed.push_back(name);
    here.erase(name);
  }
  void publish(const PlaceName&, AddressTable published) override { table = std::move(published); }
  [[nodiscard]] unsigned workers() const override { return 1; }

  std::map<std::string, GuestListener> here;
  std::vector<std::string> opened, closed;
  AddressTable table;
};

/// Real namespaces in which the listeners alone steer: no BPF. On the thread of a test.
class World {
 public:
  explicit World(Inventory inventory = sample())
      : inventory_(std::make_shared<const Inventory>(std::move(inventory))) {}
  ~World() {
    if (data_plane_) {
      data_plane_->stop();
    }
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void start() {
    data_plane_.emplace(core_, reconciler_, control_, frontend);
    ASSERT_TRUE(data_plane_->start(inventory_));
    run();
  }
  /// All that waits has its turn, and what comes again by itself has not.
  void run() {
    while (!reconciler_.queue.idle()) {
      control_.run_one();
    }
  }
  /// Events and turns, until it is so.
  void run_until(const std::function<bool()>& so, const std::string& what) {
    for (const auto until = std::chrono::steady_clock::now() + 10s; !so();) {
      ASSERT_LT(std::chrono::steady_clock::now(), until) << what;
      control_.run_one_for(20ms);
    }
  }
  void change(const std::function<void(Inventory&)>& edit) {
    auto after = *inventory_;
    edit(after);
    const auto before = std::exchange(inventory_, std::make_shared<const Inventory>(after));
    data_plane_->apply({before, inventory_, {kNet}, {}, {kRouter}, {kInterface, kGuest}, {}});
    run();
  }

  [[nodiscard]] PlaceStatus place() const {
    const auto all = data_plane_->places();
    return all.empty() ? PlaceStatus{} : all.front();
  }

  Frontend frontend;

 private:
  std::shared_ptr<Core> core_ = Core::without_bpf({}).value();
  boost::asio::io_context control_;
  Reconciler reconciler_{control_, core_->options.rcu};
  std::shared_ptr<const Inventory> inventory_;
  std::optional<RouterDataPlane> data_plane_;
};

/// In a namespace that has a name: the router's interface, up as asked for.
Status furnish(const sys::NetNamespace& space, bool lo_up = true) {
  return space.run([&]() -> Status {
    auto netlink = sys::Netlink::open().value();
    return netlink.add_veth({"qr-aaaaaaaa-aa", {}}, {"guest", {}}).and_then([&]() -> Status {
      return lo_up ? netlink.set_up(netlink.link("lo").value().index) : Status();
    });
  });
}

bool has_metadata_route(const sys::NetNamespace& space) {
  const auto route = space.run([]() -> Result<bool> {
    auto netlink = sys::Netlink::open().value();
    const auto way = netlink.route_to(*Address::parse("169.254.169.254"));
    return way && way->local;
  });
  return route.value();
}

/// Each test is one of these, in namespaces of its own.
void in_world(const std::function<void()>& test) {
  if (!metatap::testing::in_own_namespaces(test)) {
    GTEST_SKIP() << "needs root for namespaces of its own";
  }
}

TEST(RouterDataPlane, ServesWhoIsBehindARouter) {
  in_world([] {
    const auto space = sys::NetNamespace::create_named(kName).value();
    ASSERT_TRUE(furnish(space));
    World world;
    world.start();
    EXPECT_EQ(world.place().state, PlaceState::served);
    EXPECT_THAT(world.frontend.opened, ElementsAre(kListener));
    ASSERT_EQ(world.place().devices.size(), 1U);
    EXPECT_EQ(world.place().devices[0].state, DeviceState::steered);
    EXPECT_EQ(world.place().devices[0].ports, 1U);
    EXPECT_EQ(world.frontend.table.known.size(), 2U) << "its address, and that of its MAC";
    EXPECT_TRUE(has_metadata_route(space));
  });
}

TEST(RouterDataPlane, ANamespaceThatIsNobodysIsLeftAlone) {
  in_world([] {
    const auto space = sys::NetNamespace::create_named("qrouter-of-nobody").value();
    ASSERT_TRUE(furnish(space));
    World world;
    world.start();
    EXPECT_EQ(world.place().state, PlaceState::unknown);
    EXPECT_THAT(world.frontend.opened, IsEmpty());
    EXPECT_FALSE(has_metadata_route(space));
  });
}

TEST(RouterDataPlane, ANameWithoutANamespaceIsWaitedFor) {
  in_world([] {
    const auto path = std::filesystem::path(sys::kNamedNamespaces) / kName;
    {
      const std::ofstream empty(path);
    }
    World world;
    world.start();
    EXPECT_EQ(world.place().state, PlaceState::appearing);
    std::filesystem::remove(path);
    ASSERT_TRUE(furnish(sys::NetNamespace::create_named(kName).value()));
    world.run_until([&] { return world.place().state == PlaceState::served; }, "it is served");
  });
}

TEST(RouterDataPlane, UntilItsLoIsUpItSaysSoAndComesAgain) {
  in_world([] {
    const auto space = sys::NetNamespace::create_named(kName).value();
    ASSERT_TRUE(furnish(space, false));
    World world;
    world.start();
    EXPECT_EQ(world.place().state, PlaceState::failed);
    EXPECT_THAT(world.place().reason, HasSubstr("its lo is down"));
    EXPECT_THAT(world.frontend.opened, IsEmpty());
    ASSERT_TRUE(space.run([]() -> Status {
      auto netlink = sys::Netlink::open().value();
      return netlink.set_up(netlink.link("lo").value().index);
    }));
    world.run_until([&] { return world.place().state == PlaceState::served; }, "it is served");
    EXPECT_THAT(world.frontend.opened, ElementsAre(kListener));
  });
}

TEST(RouterDataPlane, ARouterThatGoesFromTheInventoryIsLetGoAsItWas) {
  in_world([] {
    const auto space = sys::NetNamespace::create_named(kName).value();
    ASSERT_TRUE(furnish(space));
    World world;
    world.start();
    world.change([](Inventory& inventory) { inventory.routers.erase(kRouter); });
    EXPECT_EQ(world.place().state, PlaceState::unknown);
    EXPECT_THAT(world.frontend.closed, ElementsAre(kListener));
    EXPECT_THAT(world.place().devices, IsEmpty());
    EXPECT_FALSE(has_metadata_route(space)) << "what we set there is undone";
    world.change(
        [](Inventory& inventory) { put(inventory.routers, Router{kRouter, "", "", true}); });
    EXPECT_EQ(world.place().state, PlaceState::served);
    EXPECT_THAT(world.frontend.here, ::testing::SizeIs(1));
  });
}

TEST(RouterDataPlane, ANamespaceMadeAnewUnderTheNameIsAnotherOne) {
  in_world([] {
    const auto path = std::filesystem::path(sys::kNamedNamespaces) / kName;
    auto space = sys::NetNamespace::create_named(kName).value();
    ASSERT_TRUE(furnish(space));
    World world;
    world.start();
    const auto number = world.place().devices.at(0).slot;
    // No event tells of it: the name stays.
    ASSERT_EQ(::umount2(path.c_str(), MNT_DETACH), 0);
    const auto other = sys::NetNamespace::create_named("other").value();
    ASSERT_TRUE(furnish(other));
    ASSERT_EQ(
        ::mount((path.parent_path() / "other").c_str(), path.c_str(), "none", MS_BIND, nullptr), 0);
    world.change([](Inventory&) {});
    EXPECT_EQ(world.place().state, PlaceState::served);
    EXPECT_THAT(world.frontend.closed, ElementsAre(kListener));
    EXPECT_THAT(world.frontend.opened, ElementsAre(kListener, kListener));
    EXPECT_NE(world.place().devices.at(0).slot, number) << "another device has another identity";
    EXPECT_TRUE(has_metadata_route(other));
  });
}

}  // namespace
}  // namespace metatap::dataplane
