// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_allocator.hpp"

#include <gtest/gtest.h>

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;

TEST(SlotAllocator, NeverHandsOutZeroAndGoesUpwards) {
  SlotAllocator slots(4);
  EXPECT_EQ(*slots.acquire(), 1U);
  EXPECT_EQ(*slots.acquire(), 2U);
  EXPECT_EQ(*slots.acquire(), 3U);
  EXPECT_EQ(slots.acquire().error().code, ErrorCode::unavailable);
}

TEST(SlotAllocator, AReleasedNumberRestsBeforeItIsUsedAgain) {
  const SlotAllocator::Clock::time_point start{};
  SlotAllocator slots(3, 60s);
  ASSERT_EQ(*slots.acquire(start), 1U);
  ASSERT_EQ(*slots.acquire(start), 2U);
  slots.release(1, start);
  EXPECT_EQ(slots.resting(), 1U);
  EXPECT_FALSE(slots.acquire(start + 59s));
  EXPECT_EQ(*slots.acquire(start + 60s), 1U);
  EXPECT_EQ(slots.in_use(), 2U);
}

TEST(SlotAllocator, PrefersNumbersThatNobodyHadOverRestedOnes) {
  const SlotAllocator::Clock::time_point start{};
  SlotAllocator slots(4, 1s);
  ASSERT_EQ(*slots.acquire(start), 1U);
  slots.release(1, start);
  EXPECT_EQ(*slots.acquire(start + 1h), 2U);
  EXPECT_EQ(*slots.acquire(start + 1h), 3U);
  EXPECT_EQ(*slots.acquire(start + 1h), 1U);
}

TEST(SlotAllocator, KnowsHowManyItCouldHandOut) {
  const SlotAllocator::Clock::time_point start{};
  SlotAllocator slots(20, 1s, 16);
  EXPECT_EQ(slots.usable(), 4U);
  EXPECT_EQ(slots.available(start), 4U);
  const auto one = *slots.acquire(start);
  EXPECT_EQ(slots.available(start), 3U);
  slots.reserve(19);
  EXPECT_EQ(slots.available(start), 2U);
  slots.release(one, start);
  EXPECT_EQ(slots.available(start), 2U) << "it rests";
  EXPECT_EQ(slots.coming(), 3U);
  EXPECT_EQ(slots.available(start + 1s), 3U);
  slots.reserve(3);  // none that is ever handed out
  EXPECT_EQ(slots.coming(), 3U);
  ASSERT_TRUE(slots.adopt(18));
  EXPECT_EQ(slots.coming(), 2U);
}

TEST(SlotAllocator, KeepsAQuarterAndTheLastForPorts) {
  SlotAllocator eight(24, 1s, 16);
  for (int given = 0; given < 6; ++given) {
    EXPECT_TRUE(eight.to_spare());
    (void)eight.acquire();
  }
  EXPECT_FALSE(eight.to_spare());
  EXPECT_EQ(eight.kept(), eight.coming());
  EXPECT_FALSE(SlotAllocator(17, 1s, 16).to_spare());
  EXPECT_TRUE(SlotAllocator(18, 1s, 16).to_spare());
}

TEST(SlotAllocator, AdoptsWhatAPinnedMapHolds) {
  SlotAllocator slots(4);
  EXPECT_TRUE(slots.adopt(2));
  EXPECT_FALSE(slots.adopt(2));
  EXPECT_FALSE(slots.adopt(0));
  EXPECT_FALSE(slots.adopt(4));
  EXPECT_EQ(*slots.acquire(), 1U);
  EXPECT_EQ(*slots.acquire(), 3U);
}

TEST(SlotAllocator, KeepsBackWhatAnEarlierProcessUsed) {
  const SlotAllocator::Clock::time_point start{};
  SlotAllocator slots(4, 0s);
  slots.reserve(1);
  slots.reserve(2);
  EXPECT_EQ(slots.in_use(), 0U);
  EXPECT_EQ(*slots.acquire(start), 3U);
  EXPECT_FALSE(slots.acquire(start)) << "not handed out, however short the rest";
  EXPECT_TRUE(slots.adopt(1));
  EXPECT_FALSE(slots.adopt(1));
  slots.release(2, start);
  EXPECT_EQ(slots.in_use(), 2U);
  EXPECT_EQ(*slots.acquire(start), 2U);
  slots.reserve(2);  // somebody's already
  slots.release(2, start);
  EXPECT_EQ(slots.in_use(), 2U);
}

}  // namespace
}  // namespace metatap::dataplane
