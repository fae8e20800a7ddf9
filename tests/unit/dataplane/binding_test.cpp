// SPDX-License-Identifier: Apache-2.0
#include "dataplane/binding.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/dataplane/fake_maps.hpp"

namespace metatap::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr mt_port_key kKey{7, 0, 0};

mt_slot row() {
  mt_slot row{};
  row.kind = MT_KIND_TAP;
  row.ifindex = 7;
  return row;
}

class BindingTest : public ::testing::Test {
 protected:
  using Made = Binding<mt_port_key>;

  Made make(std::shared_ptr<Origin> origin = std::make_shared<Origin>()) {
    auto made = Made::make(site_, row(), std::move(origin)).value();
    EXPECT_TRUE(made.lead(kKey));
    return made;
  }

  FakeMaps fake_;
  SlotTable slots_{&fake_.maps, CallerTable::create(64).value(), std::chrono::seconds(60)};
  SlotNumbers retired_;
  BindingSite<mt_port_key> site_{slots_, fake_.maps.ports, retired_};
};

TEST_F(BindingTest, LeadsFromItsKeyToItsRow) {
  const auto origin = std::make_shared<Origin>();
  const auto binding = make(origin);
  EXPECT_EQ(fake_.maps.ports.get(kKey).value(), binding.slot());
  EXPECT_EQ(fake_.maps.slots.get(binding.slot()).value()->ifindex, 7U);
  EXPECT_EQ(origin->slot, binding.slot());
  EXPECT_EQ(slots_.find(binding.slot())->origin, origin);
  EXPECT_STREQ(fake_.maps.owners.get(binding.slot()).value()->kind, "tap") << "for bpftool";
}

TEST_F(BindingTest, EndsWithKeyRowAndOriginAndItsNumberWaitsForItsSockets) {
  const auto origin = std::make_shared<Origin>();
  std::uint32_t slot = 0;
  {
    const auto binding = make(origin);
    slot = binding.slot();
  }
  EXPECT_EQ(fake_.rows("mt_ports").size(), 0U);
  EXPECT_EQ(fake_.rows("mt_owners").size(), 0U);
  EXPECT_EQ(fake_.maps.slots.get(slot).value()->kind, static_cast<std::uint32_t>(MT_KIND_FREE));
  EXPECT_TRUE(origin->revoked());
  EXPECT_FALSE(slots_.find(slot));
  EXPECT_THAT(retired_, ElementsAre(slot));
  EXPECT_EQ(slots_.allocator().resting(), 0U) << "sockets may still bear it";
}

TEST_F(BindingTest, TheKeyGoesBeforeTheRow) {
  // Whoever looks while the key goes must still find the row as it was.
  struct Watch final : MapRows {
    Watch(std::shared_ptr<FakeMap> its_rows, const Maps& all)
        : rows(std::move(its_rows)), maps(all) {}
    Status put(const void* key, const void* value) override { return rows->put(key, value); }
    Result<bool> get(const void* key, void* value) const override { return rows->get(key, value); }
    Result<bool> erase(const void* key) override {
      kind = maps.slots.get(slot).value()->kind;
      return rows->erase(key);
    }
    Result<bool> next(const void* previous, void* key) const override {
      return rows->next(previous, key);
    }
    std::shared_ptr<FakeMap> rows;
    const Maps& maps;
    std::uint32_t slot = 0, kind = MT_KIND_FREE;
  };
  const auto watch = std::make_shared<Watch>(
      std::make_shared<FakeMap>(sizeof(mt_port_key), sizeof(std::uint32_t)), fake_.maps);
  const BindingSite<mt_port_key> site{slots_, BpfMap<mt_port_key, std::uint32_t>(watch), retired_};
  {
    auto binding = Made::make(site, row(), std::make_shared<Origin>()).value();
    ASSERT_TRUE(binding.lead(kKey));
    watch->slot = binding.slot();
  }
  EXPECT_EQ(watch->kind, static_cast<std::uint32_t>(MT_KIND_TAP));
}

TEST_F(BindingTest, AKeyThatDoesNotGoKeepsItsNumberFromEveryoneElse) {
  const auto origin = std::make_shared<Origin>();
  {
    const auto binding = make(origin);
    fake_.rows("mt_ports").refuses = Error{ErrorCode::conflict, "busy"};
  }
  EXPECT_TRUE(origin->revoked());
  EXPECT_THAT(retired_, IsEmpty());
  EXPECT_EQ(slots_.allocator().in_use(), 1U);
}

TEST_F(BindingTest, MovesWithoutLettingGo) {
  auto one = make();
  const auto slot = one.slot();
  Made two = std::move(one);
  EXPECT_EQ(two.slot(), slot);
  EXPECT_TRUE(slots_.find(slot));
  one = make();
  EXPECT_NE(one.slot(), slot);
  two = std::move(one);
  EXPECT_FALSE(slots_.find(slot)) << "what it held before has ended";
  EXPECT_THAT(retired_, ElementsAre(slot));
}

TEST_F(BindingTest, HiddenItKeepsItsConnections) {
  const auto origin = std::make_shared<Origin>();
  auto binding = make(origin);
  binding.hide();
  EXPECT_EQ(fake_.rows("mt_ports").size(), 0U);
  EXPECT_FALSE(origin->revoked());
  EXPECT_TRUE(slots_.find(binding.slot()));
}

TEST_F(BindingTest, KeptItIsTheNextProcess) {
  std::uint32_t slot = 0;
  {
    auto binding = make();
    slot = binding.slot();
    binding.keep();
  }
  EXPECT_EQ(fake_.maps.ports.get(kKey).value(), slot);

  SlotTable next(&fake_.maps, CallerTable::create(64).value(), std::chrono::seconds(60));
  const BindingSite<mt_port_key> site{next, fake_.maps.ports, retired_};
  // One that is new, and whose turn comes first, does not get the number of the old one.
  const auto other = Made::make(site, row(), std::make_shared<Origin>()).value();
  EXPECT_NE(other.slot(), slot);
  const auto adopted = Made::adopt(site, slot, row(), std::make_shared<Origin>()).value();
  EXPECT_EQ(adopted.slot(), slot);
  EXPECT_FALSE(Made::adopt(site, slot, row(), std::make_shared<Origin>()));
}

TEST_F(BindingTest, AFullMapIsAnErrorAndLeavesNothing) {
  fake_.rows("mt_ports").room = 0;
  {
    auto binding = Made::make(site_, row(), std::make_shared<Origin>()).value();
    EXPECT_FALSE(binding.lead(kKey));
  }
  EXPECT_EQ(fake_.rows("mt_ports").size(), 0U);
  EXPECT_EQ(retired_.size(), 1U);
}

TEST_F(BindingTest, TheRowHasTheFirstAddressAsLongAsThePortDoes) {
  Port port;
  port.mac_address = "fa:16:3e:00:00:01";
  port.fixed_ips = {{"", "10.0.0.5"}, {"", "10.0.0.6"}};
  auto binding =
      Made::make(site_, row(), std::make_shared<Origin>(), PortAddresses::of(port)).value();
  const auto first = [&] { return ntohl(fake_.maps.slots.get(binding.slot()).value()->first_v4); };
  EXPECT_EQ(first(), 0x0a000005U);
  port.fixed_ips.erase(port.fixed_ips.begin());
  ASSERT_TRUE(binding.update(row(), PortAddresses::of(port)));
  EXPECT_EQ(first(), 0U) << "the other one keeps its alias, which is another";
  port.fixed_ips.push_back({"", "10.0.0.7"});
  ASSERT_TRUE(binding.update(row(), PortAddresses::of(port)));
  EXPECT_EQ(first(), 0x0a000007U);
  port.mac_policy = MacPolicy::any;
  ASSERT_TRUE(binding.update(row(), PortAddresses::of(port)));
  EXPECT_EQ(first(), 0U);
}

TEST(SlotTable, DropsWhatNobodyAdopts) {
  FakeMaps fake;
  ASSERT_TRUE(fake.maps.slots.put(20, row()));
  SlotTable slots(&fake.maps, CallerTable::create(64).value(), std::chrono::seconds(60));
  EXPECT_TRUE(slots.drop_orphans([](std::uint32_t, const mt_slot&) { return false; }).empty());
  const auto dropped = slots.drop_orphans(
      [](std::uint32_t, const mt_slot& left) { return left.kind == MT_KIND_TAP; });
  EXPECT_EQ(dropped, std::set<std::uint32_t>{20});
  EXPECT_EQ(slots.allocator().resting(), 0U) << "its sockets may still be there";
  slots.rest(20);
  EXPECT_EQ(slots.allocator().resting(), 1U);
  EXPECT_EQ(fake.maps.slots.get(20).value()->kind, static_cast<std::uint32_t>(MT_KIND_FREE));
}

TEST(Maps, GrowWithTheSlots) {
  EXPECT_EQ(rows_of("mt_slots", 100), 100U);
  EXPECT_EQ(rows_of("mt_devices", 100), 100U);
  EXPECT_EQ(rows_of("mt_sources", 100), 400U);
  EXPECT_EQ(rows_of("mt_addresses", 100), 4096U);
  EXPECT_EQ(rows_of("mt_addresses", 1000), 8000U);
  EXPECT_EQ(rows_of("mt_events", 100), 0U);
}

}  // namespace
}  // namespace metatap::dataplane
