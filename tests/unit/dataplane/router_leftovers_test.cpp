// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_leftovers.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "dataplane/abi_text.hpp"
#include "unit/dataplane/fake_maps.hpp"

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kDevice = 20, kPort = 21, kPlace = 5, kIfindex = 7;

mt_slot device_row() {
  mt_slot row{};
  row.kind = MT_KIND_ROUTER_DEVICE;
  row.ifindex = kIfindex;
  copy_text(row.device, std::string("qr-1"));
  return row;
}

mt_slot port_row() {
  mt_slot row = device_row();
  row.kind = MT_KIND_ROUTER_PORT;
  row.device_slot = kDevice;
  copy_text(row.port_id, std::string("port"));
  return row;
}

mt_source_key key(std::uint8_t last) {
  return {kDevice, MT_FAMILY_V4, {10, 0, 0, last}};
}

/// What a process left that had one device with one port of two addresses.
class RouterLeftoversTest : public ::testing::Test {
 protected:
  RouterLeftoversTest() {
    auto device = device_row(), port = port_row();
    device.generation = 3;
    port.generation = 9;
    EXPECT_TRUE(fake_.maps.slots.put(kDevice, device));
    EXPECT_TRUE(fake_.maps.slots.put(kPort, port));
    EXPECT_TRUE(fake_.maps.devices.put({kPlace, kIfindex}, kDevice));
    EXPECT_TRUE(fake_.maps.sources.put(key(1), kPort));
    EXPECT_TRUE(fake_.maps.sources.put(key(2), kPort));
    slots_.emplace(&fake_.maps, CallerTable::create(64).value(), 60s);
    left_ = RouterLeftovers::read(fake_.maps).value();
  }
  std::uint32_t kind_of(std::uint32_t slot) { return fake_.maps.slots.get(slot).value()->kind; }

  FakeMaps fake_;
  std::optional<SlotTable> slots_;
  RouterLeftovers left_;
};

TEST_F(RouterLeftoversTest, NoNumberOfAPlaceIsGivenTwice) {
  EXPECT_EQ(left_.first_free_place(), kPlace + 1);
}

TEST_F(RouterLeftoversTest, TheSameDeviceAndTheSamePortGoOn) {
  EXPECT_EQ(left_.take_device(*slots_, {kPlace, kIfindex}, device_row()), kDevice);
  EXPECT_EQ(left_.take_port(*slots_, port_row(), {key(2), key(1)}), kPort);
  EXPECT_FALSE(left_.take_port(*slots_, port_row(), {key(2), key(1)})) << "once";
}

TEST_F(RouterLeftoversTest, AnotherDeviceOrPlaceIsNotTheSame) {
  auto renamed = device_row();
  copy_text(renamed.device, std::string("qr-2"));
  EXPECT_FALSE(left_.take_device(*slots_, {kPlace, kIfindex}, renamed));
  EXPECT_FALSE(left_.take_device(*slots_, {kPlace + 1, kIfindex}, device_row()));
  EXPECT_FALSE(left_.take_device(*slots_, {0, kIfindex}, device_row()));
}

TEST_F(RouterLeftoversTest, APortWithOtherAddressesOrAnotherIdIsNotTheSame) {
  EXPECT_FALSE(left_.take_port(*slots_, port_row(), {key(1)}));
  EXPECT_FALSE(left_.take_port(*slots_, port_row(), {key(1), key(2), key(3)}));
  auto other = port_row();
  copy_text(other.port_id, std::string("another"));
  EXPECT_FALSE(left_.take_port(*slots_, other, {key(1), key(2)}));
}

TEST_F(RouterLeftoversTest, WhatIsNotTakenGoesAndItsNumberStaysTaken) {
  // An address has become another port's by then, under a number of its own.
  ASSERT_TRUE(fake_.maps.sources.put(key(2), 30));
  const auto gone = left_.let_go(fake_.maps, *slots_, kPlace);
  EXPECT_EQ(gone, (SlotNumbers{kDevice, kPort}));
  EXPECT_EQ(fake_.rows("mt_devices").size(), 0U);
  EXPECT_FALSE(*fake_.maps.sources.get(key(1)));
  EXPECT_EQ(fake_.maps.sources.get(key(2)).value(), 30U) << "the other port's stays";
  EXPECT_EQ(kind_of(kPort), static_cast<std::uint32_t>(MT_KIND_FREE));
  EXPECT_EQ(slots_->allocator().resting(), 0U);
}

TEST_F(RouterLeftoversTest, WhatWasTakenStays) {
  ASSERT_TRUE(left_.take_port(*slots_, port_row(), {key(1), key(2)}));
  ASSERT_TRUE(slots_->adopt(kPort, port_row(), std::make_shared<Origin>()));
  EXPECT_EQ(left_.let_go(fake_.maps, *slots_, kPlace), SlotNumbers{kDevice});
  EXPECT_EQ(fake_.maps.sources.get(key(1)).value(), kPort);
  EXPECT_EQ(kind_of(kPort), static_cast<std::uint32_t>(MT_KIND_ROUTER_PORT));
}

TEST_F(RouterLeftoversTest, AnotherPlaceKeepsItsOwn) {
  EXPECT_TRUE(left_.let_go(fake_.maps, *slots_, kPlace + 1).empty());
  EXPECT_EQ(fake_.maps.devices.get({kPlace, kIfindex}).value(), kDevice);
  EXPECT_EQ(left_.let_all_go(fake_.maps, *slots_), (SlotNumbers{kDevice, kPort}));
  EXPECT_EQ(fake_.rows("mt_devices").size() + fake_.rows("mt_sources").size(), 0U);
}

}  // namespace
}  // namespace metatap::dataplane
