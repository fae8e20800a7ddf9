// SPDX-License-Identifier: Apache-2.0
#include "dataplane/binding.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "dataplane/abi_text.hpp"
#include "dataplane/tap_plan.hpp"
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

  static mt_slot row_of(const Port& port) {
    auto its = row();
    its.flags = port.address_policy == AddressPolicy::learn ? MT_SLOT_LEARN : 0;
    std::ranges::copy(parse_mac(port.mac_address).value(), its.mac);
    copy_text(its.port_id, port.id);
    return its;
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

// ---- A device that no port has yet

class UnknownTest : public BindingTest {
 protected:
  UnknownTest() {
    port_.id = "port";
    port_.mac_address = "fa:16:3e:00:00:01";
    port_.fixed_ips = {{"", "10.0.0.6"}, {"", "10.0.0.5"}, {"", "2001:db8::5"}};
    const auto plan = plan_unknown({"tap1", 0}, {7, {}});
    binding_ = Made::make(site_, plan.row, unknown_, plan.addresses).value();
    EXPECT_TRUE(binding_.lead(kKey));
  }
  /// As the programs do.
  void learns(const std::string& text, const std::string& mac = "fa:16:3e:00:00:01") {
    const auto address = Address::parse(text).value();
    const bool six = address.family == AF_INET6;
    const auto slot = binding_.slot();
    const auto generation = fake_.maps.slots.get(slot).value()->generation;
    auto counter = fake_.maps.counters.get(slot).value().value();
    const auto index = six ? ++counter.learned_v6 : counter.learned_v4++;
    ASSERT_TRUE(fake_.maps.counters.put(slot, counter));
    const auto family = static_cast<std::uint8_t>(six ? MT_FAMILY_V6 : MT_FAMILY_V4);
    mt_alias alias{};
    std::copy_n(address.bytes.begin(), address.size(), alias.address);
    std::ranges::copy(parse_mac(mac).value(), alias.mac);
    ASSERT_TRUE(fake_.maps.aliases.put({slot, generation, family, static_cast<std::uint8_t>(index)},
                                       alias));
    mt_address_key key{slot, generation, family, {}};
    std::ranges::copy(alias.address, key.address);
    mt_address row{static_cast<std::uint32_t>(index), {}, 0};
    std::ranges::copy(alias.mac, row.mac);
    ASSERT_TRUE(fake_.maps.addresses.put(key, row));
  }
  Status name() { return name(binding_); }
  Status name(Made& binding) {
    named_ = std::make_shared<Origin>();
    named_->port_id = port_.id;
    return binding.name(row_of(port_), named_, PortAddresses::of(port_));
  }
  /// The process ends, and the next one takes over what it leaves.
  Made adopted_by_the_next() {
    const auto slot = binding_.slot();
    binding_.keep();
    next_.emplace(&fake_.maps, CallerTable::create(64).value(), std::chrono::seconds(60));
    next_site_.emplace(BindingSite<mt_port_key>{*next_, fake_.maps.ports, retired_});
    const auto plan = plan_unknown({"tap1", 0}, {7, {}});
    return Made::adopt(*next_site_, slot, plan.row, std::make_shared<Origin>(), plan.addresses)
        .value();
  }
  std::uint32_t index_of(const std::string& text) {
    const auto entry = slots_.find(binding_.slot());
    const auto* own = entry->addresses.find(Address::parse(text).value());
    return own == nullptr ? 999 : own->index;
  }
  mt_slot kernels() { return *fake_.maps.slots.get(binding_.slot()).value(); }

  Port port_;
  const std::shared_ptr<Origin> unknown_ = std::make_shared<Origin>();
  std::shared_ptr<Origin> named_;
  std::optional<SlotTable> next_;
  std::optional<BindingSite<mt_port_key>> next_site_;
  Made binding_;
};

TEST_F(UnknownTest, KeepsNumberGenerationAndAliasesWhenItsPortComes) {
  learns("10.0.0.5");
  learns("2001:db8::5");
  const auto before = kernels();
  EXPECT_NE(before.flags & MT_SLOT_REFUSE_DOWN, 0U);
  ASSERT_TRUE(name());
  EXPECT_EQ(kernels().generation, before.generation);
  EXPECT_EQ(kernels().flags, 0U);
  EXPECT_STREQ(kernels().port_id, "port");
  EXPECT_EQ(index_of("10.0.0.5"), 0U);
  EXPECT_EQ(ntohl(kernels().first_v4), 0x0a000005U);
  EXPECT_EQ(index_of("10.0.0.6"), 1U);
  EXPECT_EQ(index_of("2001:db8::5"), 1U);
  EXPECT_TRUE(unknown_->revoked()) << "who they are is asked anew";
  EXPECT_FALSE(named_->revoked());
  EXPECT_EQ(slots_.find(binding_.slot())->origin, named_);
  EXPECT_THAT(retired_, IsEmpty());
  EXPECT_FALSE(name()) << "it has a port";
}

TEST_F(UnknownTest, IsNotAPortsFromWhoseAddressesItDidNotAsk) {
  learns("10.0.0.5");
  learns("10.0.0.99");
  EXPECT_EQ(name().error().code, ErrorCode::conflict);
  EXPECT_FALSE(unknown_->revoked()) << "it ends by its owner";
  binding_ = {};
  EXPECT_TRUE(unknown_->revoked());
  EXPECT_EQ(fake_.rows("mt_aliases").size(), 0U);
  EXPECT_EQ(fake_.rows("mt_addresses").size(), 0U);
}

TEST_F(UnknownTest, IsNotAPortsFromWhoseMacItDidNotAsk) {
  learns("10.0.0.5", "fa:16:3e:00:00:02");
  EXPECT_EQ(name().error().code, ErrorCode::conflict);
  port_.allowed_address_pairs = {{"10.0.0.5", "fa:16:3e:00:00:02"}};
  EXPECT_TRUE(name()) << "but one of a pair is its own";
}

TEST_F(UnknownTest, MayHaveAskedFromAnywhereIfThePortLearns) {
  port_.fixed_ips.clear();
  learns("192.0.2.7");
  port_.address_policy = AddressPolicy::learn;
  ASSERT_TRUE(name());
  EXPECT_EQ(index_of("192.0.2.7"), 0U);
  // And goes on so when the port changes, but not without learning.
  port_.fixed_ips = {{"", "10.0.0.5"}};
  ASSERT_TRUE(binding_.update(row_of(port_), PortAddresses::of(port_)));
  EXPECT_EQ(index_of("192.0.2.7"), 0U);
  EXPECT_EQ(index_of("10.0.0.5"), 1U);
  port_.address_policy = AddressPolicy::strict;
  ASSERT_TRUE(binding_.update(row_of(port_), PortAddresses::of(port_)));
  EXPECT_EQ(index_of("192.0.2.7"), 999U);
}

TEST_F(UnknownTest, WhatWasLearnedWhileItWasNamedWasLookedAtByNobody) {
  // The programs are at it while the port's rows are written.
  struct Late final : MapRows {
    explicit Late(std::shared_ptr<MapRows> its_rows) : rows(std::move(its_rows)) {}
    Status put(const void* key, const void* value) override {
      if (then) {
        std::exchange(then, nullptr)();
      }
      return rows->put(key, value);
    }
    Result<bool> get(const void* key, void* value) const override { return rows->get(key, value); }
    Result<bool> erase(const void* key) override { return rows->erase(key); }
    Result<bool> next(const void* previous, void* key) const override {
      return rows->next(previous, key);
    }
    std::shared_ptr<MapRows> rows;
    std::function<void()> then;
  };
  const auto late = std::make_shared<Late>(fake_.shared("mt_aliases"));
  fake_.maps.aliases = BpfMap<mt_alias_key, mt_alias>(late);
  late->then = [&] {
    auto counter = fake_.maps.counters.get(binding_.slot()).value().value();
    ++counter.learned_v4;
    ASSERT_TRUE(fake_.maps.counters.put(binding_.slot(), counter));
  };
  EXPECT_EQ(name().error().code, ErrorCode::conflict);
}

TEST_F(UnknownTest, WhatIsStillBeingLearnedIsNotTakenForNothing) {
  // A program has counted, and not yet written from where the guest asks.
  auto counter = fake_.maps.counters.get(binding_.slot()).value().value();
  ++counter.learned_v4;
  ASSERT_TRUE(fake_.maps.counters.put(binding_.slot(), counter));
  EXPECT_EQ(name().error().code, ErrorCode::conflict);
}

TEST_F(UnknownTest, AnswersGoOnToTheMacThatItSpokeFrom) {
  const std::string other = "fa:16:3e:00:00:02";
  learns("10.0.0.5", other);
  port_.allowed_address_pairs = {{"10.0.0.5", other}};
  ASSERT_TRUE(name());
  const auto mac = [&] {
    const mt_alias_key first{binding_.slot(), kernels().generation, MT_FAMILY_V4, 0};
    MacAddress of{};
    std::ranges::copy(fake_.maps.aliases.get(first).value()->mac, of.begin());
    return to_string(of);
  };
  EXPECT_EQ(mac(), other);
  port_.fixed_ips.push_back({"", "10.0.0.7"});
  ASSERT_TRUE(binding_.update(row_of(port_), PortAddresses::of(port_)));
  EXPECT_EQ(mac(), other) << "a change of the port is none of its guest";
  port_.allowed_address_pairs.clear();
  ASSERT_TRUE(binding_.update(row_of(port_), PortAddresses::of(port_)));
  EXPECT_EQ(mac(), port_.mac_address);
}

TEST_F(UnknownTest, TheNextProcessKnowsTheMacOfItsLinkLocalAddresses) {
  const mt_alias_key key{binding_.slot(), kernels().generation, MT_FAMILY_V6, MT_LINK_LOCAL};
  auto alias = fake_.maps.aliases.get(key).value().value();
  std::ranges::copy(parse_mac("fa:16:3e:00:00:02").value(), alias.mac);
  ASSERT_TRUE(fake_.maps.aliases.put(key, alias));
  auto adopted = adopted_by_the_next();
  EXPECT_EQ(name(adopted).error().code, ErrorCode::conflict);
}

TEST_F(UnknownTest, IsNobodysIfTheProcessDiesBeforeAllIsSeenToBeThePorts) {
  learns("10.0.0.99");
  learns("10.0.0.5");
  // It dies at the first row of an address that is written: as if nothing more could be.
  fake_.rows("mt_aliases").refuses = Error{ErrorCode::conflict, "dead"};
  port_.allowed_address_pairs = {{"10.0.0.99", {}}};
  ASSERT_FALSE(name());
  EXPECT_NE(kernels().flags & MT_SLOT_UNKNOWN, 0U);
  EXPECT_EQ(kernels().flags & MT_SLOT_LEARN, 0U) << "but from no new address";
  EXPECT_STREQ(kernels().port_id, "");
  fake_.rows("mt_aliases").refuses = {};
  const auto slot = binding_.slot();
  // And what it had written of the port is not the next one's.
  const auto generation = fake_.maps.slots.get(slot).value()->generation;
  mt_alias_key left{slot, generation, MT_FAMILY_V4, 7};
  mt_alias alias{};
  alias.address[0] = 10;
  ASSERT_TRUE(fake_.maps.aliases.put(left, alias));
  mt_address_key key{slot, generation, MT_FAMILY_V4, {10}};
  ASSERT_TRUE(fake_.maps.addresses.put(key, {7, {}, 0}));
  auto adopted = adopted_by_the_next();
  EXPECT_NE(fake_.maps.slots.get(slot).value()->flags & MT_SLOT_LEARN, 0U);
  EXPECT_FALSE(fake_.maps.addresses.get(key).value());
  EXPECT_FALSE(fake_.maps.aliases.get(left).value());
  port_.allowed_address_pairs.clear();
  EXPECT_EQ(name(adopted).error().code, ErrorCode::conflict);
}

TEST_F(UnknownTest, TheNextProcessGoesOnWithIt) {
  learns("10.0.0.5");
  auto adopted = adopted_by_the_next();
  ASSERT_TRUE(name(adopted));
  EXPECT_EQ(next_->find(adopted.slot())->addresses.find(Address::parse("10.0.0.5").value())->index,
            0U);
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
