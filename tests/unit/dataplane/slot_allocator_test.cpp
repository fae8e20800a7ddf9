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

TEST(SlotAllocator, AdoptsWhatAPinnedMapHolds) {
  SlotAllocator slots(4);
  EXPECT_TRUE(slots.adopt(2));
  EXPECT_FALSE(slots.adopt(2));
  EXPECT_FALSE(slots.adopt(0));
  EXPECT_FALSE(slots.adopt(4));
  EXPECT_EQ(*slots.acquire(), 1U);
  EXPECT_EQ(*slots.acquire(), 3U);
}

}  // namespace
}  // namespace metatap::dataplane
