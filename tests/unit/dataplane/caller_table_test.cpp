// SPDX-License-Identifier: Apache-2.0
#include "dataplane/caller_table.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/callers.hpp"
#include "dataplane/learned_addresses.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::uint32_t kSlots = 64, kSlot = 17;

SlotEntry entry(std::string port, int addresses = 1) {
  SlotEntry entry;
  entry.origin = std::make_shared<Origin>();
  entry.origin->path = Path::dhcp;
  entry.origin->port_id = std::move(port);
  entry.origin->network_id = "6a51c3b4-8b1e-4f0e-9a3a-0d2f6c1e7b11";
  entry.origin->router_id = "r";
  entry.origin->device = "tap0123456789a";
  entry.row.kind = MT_KIND_TAP;
  entry.row.generation = 3;
  entry.row.mac[5] = 0x2a;
  entry.addresses.first_fixed = "fd00::1";
  for (int i = 0; i < addresses; ++i) {
    Address address{
        AF_INET, {10, 0, static_cast<std::uint8_t>(i / 256), static_cast<std::uint8_t>(i % 256)}};
    entry.addresses.addresses.push_back({address, {}, i % 2 == 0, static_cast<std::uint32_t>(i)});
  }
  return entry;
}

class CallerTableTest : public ::testing::Test {
 protected:
  std::shared_ptr<CallerTable> table_ = CallerTable::create(kSlots).value();
  std::shared_ptr<CallerView> view_ = CallerView::map(table_->fd(), kSlots).value();
};

TEST(CallerTable, LookingAtAllCostsNoMemoryForThoseThatAreNobodys) {
  constexpr std::uint32_t kMany = 16'384;
  const auto table = CallerTable::create(kMany).value();
  const auto view = CallerView::map(table->fd(), kMany).value();
  const auto memory = [&] {
    struct stat file{};
    EXPECT_EQ(::fstat(table->fd(), &file), 0);
    return file.st_blocks;
  };
  const auto all = [&] {
    std::vector<std::uint32_t> slots;
    view->each([&](const SlotEntry& entry) { slots.push_back(entry.origin->slot); });
    return slots;
  };
  EXPECT_TRUE(all().empty());
  const std::vector<std::uint32_t> wanted{0, 1, 9, 700, 16'383};
  for (const auto slot : wanted) {
    table->add(slot, entry("port", 100));
  }
  const auto before = memory();
  EXPECT_EQ(all(), wanted);
  EXPECT_EQ(memory(), before);
  table->revoke(700);
  EXPECT_EQ(all(), (std::vector<std::uint32_t>{0, 1, 9, 16'383}));
}

TEST_F(CallerTableTest, TheReaderKnowsWhatTheWriterSaid) {
  EXPECT_EQ(view_->find(kSlot), nullptr);
  table_->add(kSlot, entry("port", 100));  // more than a row itself has room for
  const auto found = view_->find(kSlot);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->origin->path, Path::dhcp);
  EXPECT_EQ(found->origin->port_id, "port");
  EXPECT_EQ(found->origin->network_id, "6a51c3b4-8b1e-4f0e-9a3a-0d2f6c1e7b11");
  EXPECT_EQ(found->origin->router_id, "r");
  EXPECT_EQ(found->origin->device, "tap0123456789a");
  EXPECT_EQ(found->origin->slot, kSlot);
  EXPECT_EQ(found->row.kind, static_cast<std::uint32_t>(MT_KIND_TAP));
  EXPECT_EQ(found->row.generation, 3);
  EXPECT_EQ(found->row.mac[5], 0x2a);
  EXPECT_EQ(found->addresses.first_fixed, "fd00::1");
  for (std::uint32_t i = 0; i < 100; ++i) {
    const auto* own = found->addresses.find(AF_INET, i);
    ASSERT_NE(own, nullptr) << i;
    EXPECT_EQ(own->address.text(), "10.0.0." + std::to_string(i));
    EXPECT_EQ(own->fixed, i % 2 == 0);
  }
  EXPECT_EQ(view_->find(kSlot), found) << "read once";
  EXPECT_EQ(view_->find(kSlots), nullptr);
}

TEST_F(CallerTableTest, RevokedIsRevokedForBothAtOnce) {
  const auto mine = entry("one");
  table_->add(kSlot, mine);
  const auto seen = view_->find(kSlot)->origin;
  EXPECT_FALSE(mine.origin->revoked());
  EXPECT_FALSE(seen->revoked());
  table_->revoke(kSlot);
  EXPECT_TRUE(mine.origin->revoked());
  EXPECT_TRUE(seen->revoked());
  EXPECT_EQ(view_->find(kSlot), nullptr);
  table_->add(kSlot, entry("two"));
  EXPECT_TRUE(seen->revoked()) << "the next owner is another";
  EXPECT_EQ(view_->find(kSlot)->origin->port_id, "two");
}

TEST_F(CallerTableTest, OtherAddressesAreSeenByWhoKnowsTheSlotAlready) {
  auto mine = entry("one");
  table_->add(kSlot, mine);
  const auto before = view_->find(kSlot);
  mine.addresses.first_fixed = "10.0.0.99";
  table_->update(kSlot, mine);
  EXPECT_EQ(view_->find(kSlot)->addresses.first_fixed, "10.0.0.99");
  EXPECT_FALSE(before->origin->revoked()) << "it is still the same port";
}

TEST_F(CallerTableTest, AReaderCannotWrite) {
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, table_->fd(), 0);
  EXPECT_EQ(memory, MAP_FAILED);
  EXPECT_LT(::pwrite(table_->fd(), "x", 1, 0), 0);
  EXPECT_NE(::ftruncate(table_->fd(), 0), 0);
}

TEST_F(CallerTableTest, ATableThatIsTooSmallIsNotMapped) {
  const auto view = CallerView::map(table_->fd(), 10 * kSlots);
  ASSERT_FALSE(view);
  EXPECT_EQ(view.error().code, ErrorCode::invalid);
}

TEST_F(CallerTableTest, NobodyIsEverSeenHalfWritten) {
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      if (const auto found = view_->find(kSlot)) {
        // Each owner's texts belong together.
        ASSERT_EQ(found->origin->port_id, found->origin->device);
        ASSERT_EQ(found->addresses.addresses.size(), 20U);
      }
    }
  });
  for (int i = 0; i < 20'000; ++i) {
    auto one = entry(std::to_string(i), 20);
    one.origin->device = one.origin->port_id;
    table_->add(kSlot, one);
  }
  stop = true;
  reader.join();
}

TEST(LearnedAddresses, NobodyKnowsWithoutMapsAndTheAnswerComesAllTheSame) {
  const auto slots = std::make_shared<SlotTable>(nullptr, CallerTable::create(kSlots).value(),
                                                 std::chrono::seconds(1));
  auto server = LearnedAddressServer::start(slots).value();
  const RemoteLearnedAddresses remote(UniqueFd(::dup(server->other_end())));
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(remote.address_of({17, 1, 200}, AF_INET), std::nullopt);
  EXPECT_EQ(remote.address_of({17, 1, 200}, 99), std::nullopt);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(150))
      << "an answer, not the end of patience";
  server.reset();
  EXPECT_EQ(remote.address_of({17, 1, 200}, AF_INET), (Address{AF_INET, {}}))
      << "while nobody is there to say it, the port is known all the same";
}

}  // namespace
}  // namespace metatap::dataplane
