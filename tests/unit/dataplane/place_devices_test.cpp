// SPDX-License-Identifier: Apache-2.0
#include "dataplane/place_devices.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>

#include "dataplane/work_queue.hpp"
#include "unit/dataplane/fake_maps.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct NoFrontend final : GuestFrontend {
  void open(GuestListener) override {}
  void close(const std::string&) override {}
  void publish(const PlaceName&, AddressTable) override {}
  [[nodiscard]] unsigned workers() const override { return 1; }
};

/// Identities in maps that are in memory, and devices that are connected as the test says.
class FakeSteering final : public Steering {
 public:
  FakeSteering(const Core& core, PlaceJournal& journal, GuestFrontend& frontend, Maps& maps)
      : Steering(core, journal, frontend), maps_(maps) {}

  std::optional<Error> refuses;
  unsigned tries = 0;

  Status prepare(Place& place, const Inside&, const PlacePlan&) override {
    if (!place.device_site) {
      place.device_site.emplace(
          BindingSite<mt_device_key>{*core_.slots, maps_.devices, place.retired});
      place.source_site.emplace(
          BindingSite<mt_source_key>{*core_.slots, maps_.sources, place.retired});
    }
    return {};
  }
  bool goes_on(PlaceDevice&, const RouterDevice&) const override { return true; }
  Status identify(Place& place, PlaceDevice& device) override {
    auto made = Binding<mt_device_key>::make(*place.device_site, row(MT_KIND_ROUTER_DEVICE),
                                             std::make_shared<Origin>());
    if (!made) {
      return tl::make_unexpected(made.error());
    }
    device.binding = *std::move(made);
    return {};
  }
  Result<Binding<mt_source_key>> identify_port(Place& place, const PlaceDevice&,
                                               const RouterSource&) override {
    return Binding<mt_source_key>::make(*place.source_site, row(MT_KIND_ROUTER_PORT),
                                        std::make_shared<Origin>());
  }
  Status connect(Place&, PlaceDevice&) override {
    ++tries;
    return refuses ? Status(tl::make_unexpected(*refuses)) : Status();
  }
  void disconnect(Place&, PlaceDevice&, bool) override {}
  std::string_view attach_of(const PlaceDevice&) const override { return "fake"; }

 protected:
  CallerRule::By callers_by() const override { return CallerRule::By::mark; }

 private:
  static mt_slot row(std::uint32_t kind) {
    mt_slot row{};
    row.kind = kind;
    return row;
  }
  Maps& maps_;
};

RouterSource source(const std::string& port, const std::string& address) {
  RouterSource source;
  source.port_id = port;
  source.addresses = {*Address::parse(address)};
  return source;
}

class PlaceDevicesTest : public ::testing::Test {
 protected:
  PlaceDevicesTest() {
    core_.slots = std::make_shared<SlotTable>(&fake_.maps, CallerTable::create(64).value(), 60s);
    for (auto* place : {&first_, &second_}) {
      place->name = place == &first_ ? "qrouter-1" : "qrouter-2";
    }
  }
  static PlacePlan plan(std::vector<RouterSource> sources = {}) {
    RouterDevice device;
    device.ifindex = 7;
    device.name = "qr-7";
    device.port_id = "router-port";
    device.sources = std::move(sources);
    PlacePlan plan;
    plan.devices = {device};
    return plan;
  }
  Status settle(Place& place, PlacePlan wanted) {
    return devices_.settle(place, std::move(wanted), {*netlink_, links_});
  }

  FakeMaps fake_;
  Core core_;
  PlaceJournal journal_{{}};
  NoFrontend frontend_;
  FakeSteering steering_{core_, journal_, frontend_, fake_.maps};
  std::optional<sys::Netlink> netlink_ = sys::Netlink::open().value();
  std::vector<sys::Link> links_;
  std::vector<std::string> looked_again_;
  PlaceDevices devices_{steering_,
                        [this](const std::string& place) { looked_again_.push_back(place); }, 0ms};
  Place first_, second_;
};

TEST_F(PlaceDevicesTest, ADeviceThatCannotBeConnectedKeepsItsSlot) {
  steering_.refuses = Error{ErrorCode::internal, "no room for a program"};
  ASSERT_TRUE(settle(first_, plan({source("guest", "10.0.0.5")})));
  const auto slot = first_.devices.at(7).binding.slot();
  const auto guest = first_.devices.at(7).ports.at("guest").slot();
  for (int tries = 0; tries < 50; ++tries) {
    ASSERT_TRUE(settle(first_, plan({source("guest", "10.0.0.5")})));
    EXPECT_EQ(first_.devices.at(7).error, "no room for a program");
  }
  EXPECT_EQ(steering_.tries, 51U);
  steering_.refuses.reset();
  ASSERT_TRUE(settle(first_, plan({source("guest", "10.0.0.5")})));
  EXPECT_EQ(first_.devices.at(7).error, "");
  EXPECT_EQ(first_.devices.at(7).binding.slot(), slot);
  EXPECT_EQ(first_.devices.at(7).ports.at("guest").slot(), guest);
  EXPECT_THAT(first_.retired, IsEmpty());
}

TEST_F(PlaceDevicesTest, TheEventsOfAFailedTryBringNoOtherAtOnce) {
  PlaceDevices patient(steering_, nullptr, 1h);
  boost::asio::io_context control;
  WorkQueue queue(control);
  unsigned turns = 0;
  steering_.refuses = Error{ErrorCode::internal, "no filter goes onto its qdisc"};
  // Each turn is told of at once, as by the qdisc that it made and took away again.
  WorkQueue::Lane lane(queue, [&](const std::string& name) {
    EXPECT_TRUE(patient.settle(first_, plan(), {*netlink_, links_}));
    EXPECT_EQ(first_.devices.at(7).error, "no filter goes onto its qdisc");
    if (++turns < 10'000) {
      lane.add(name);
    }
    return Turn::failed(first_.devices.at(7).error);
  });
  lane.add("qrouter-1");
  while (turns < 10'000) {
    control.run_one();
  }
  EXPECT_LT(steering_.tries, 30U) << "of 10000 turns; the pauses double from a millisecond on";
}

TEST_F(PlaceDevicesTest, AMapThatRefusesIsTriedAgain) {
  fake_.rows("mt_slots").refuses = Error{ErrorCode::internal, "the map is full"};
  ASSERT_TRUE(settle(first_, plan()));
  EXPECT_THAT(first_.devices.at(7).error, ::testing::HasSubstr("the map is full"));
  EXPECT_EQ(steering_.tries, 0U) << "without an identity nothing may come in";
  fake_.rows("mt_slots").refuses.reset();
  ASSERT_TRUE(settle(first_, plan()));
  EXPECT_EQ(first_.devices.at(7).error, "");
  EXPECT_EQ(steering_.tries, 1U);
}

TEST_F(PlaceDevicesTest, APortThatChangedIsANewIdentityAndOthersGoOn) {
  ASSERT_TRUE(settle(first_, plan({source("a", "10.0.0.5"), source("b", "10.0.0.6")})));
  const auto& ports = first_.devices.at(7).ports;
  const auto a = ports.at("a").origin();
  const auto b = ports.at("b").slot();
  const auto old = ports.at("a").slot();
  ASSERT_TRUE(settle(first_, plan({source("a", "10.0.0.7"), source("b", "10.0.0.6")})));
  EXPECT_TRUE(a->revoked());
  EXPECT_NE(ports.at("a").slot(), old);
  EXPECT_EQ(ports.at("b").slot(), b);
  EXPECT_THAT(first_.retired, ElementsAre(old));
  ASSERT_TRUE(settle(first_, plan({source("b", "10.0.0.6")})));
  EXPECT_FALSE(ports.contains("a"));
}

TEST_F(PlaceDevicesTest, APortIsServedWhereItWasFirstAndThenWhereItIsWanted) {
  ASSERT_TRUE(settle(first_, plan()));
  ASSERT_TRUE(settle(second_, plan()));
  EXPECT_TRUE(second_.devices.empty());
  ASSERT_EQ(second_.problems.size(), 1U);
  EXPECT_EQ(second_.problems.front().state, DeviceState::conflict);
  EXPECT_THAT(looked_again_, IsEmpty());
  ASSERT_TRUE(settle(first_, {}));
  EXPECT_THAT(looked_again_, ElementsAre("qrouter-2"));
  ASSERT_TRUE(settle(second_, plan()));
  EXPECT_TRUE(second_.devices.contains(7));
}

TEST_F(PlaceDevicesTest, WhatGoesLeavesNoRow) {
  ASSERT_TRUE(settle(first_, plan({source("a", "10.0.0.5")})));
  const auto origin = first_.devices.at(7).binding.origin();
  devices_.drop_all(first_, false);
  EXPECT_TRUE(origin->revoked());
  EXPECT_EQ(first_.retired.size(), 2U);
  for (const auto slot : first_.retired) {
    EXPECT_EQ(fake_.maps.slots.get(slot).value()->kind, static_cast<std::uint32_t>(MT_KIND_FREE));
  }
}

}  // namespace
}  // namespace metatap::dataplane
