// SPDX-License-Identifier: Apache-2.0
#include "dataplane/refusals.hpp"

#include <gtest/gtest.h>

namespace metatap::dataplane {
namespace {

using namespace std::chrono_literals;
using Count = Refusals::Count;
using Clock = Refusals::Clock;

Count spoofed(std::uint64_t owner, std::uint64_t packets) {
  return {.slot = 16, .reason = MT_spoofed_v4, .owner = owner, .packets = packets};
}

TEST(Refusals, TellsOnceHoweverManyPacketsThereAre) {
  Refusals refusals;
  const auto now = Clock::now();
  EXPECT_TRUE(refusals.news({}, now).empty());
  auto news = refusals.news({spoofed(1, 3)}, now);
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].packets, 3U);
  for (std::uint64_t second = 1; second < 599; ++second) {
    EXPECT_TRUE(refusals.news({spoofed(1, 1000 * second)}, now + second * 1s).empty()) << second;
  }
  news = refusals.news({spoofed(1, 1'000'003)}, now + 10min);
  ASSERT_EQ(news.size(), 1U) << "it still goes on";
  EXPECT_EQ(news[0].packets, 1'000'000U) << "since the line before";
  EXPECT_TRUE(refusals.news({spoofed(1, 1'000'003)}, now + 1h).empty()) << "no more of them came";
}

TEST(Refusals, EachOwnerAndReasonByItself) {
  Refusals refusals;
  const auto now = Clock::now();
  EXPECT_EQ(refusals.news({spoofed(1, 1), spoofed(2, 1)}, now).size(), 2U);
  const Count budget{.slot = 16, .reason = MT_syn_budget, .owner = 1, .packets = 9};
  const auto news = refusals.news({spoofed(1, 2), spoofed(2, 2), budget}, now + 1s);
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].reason, MT_syn_budget);
}

TEST(Refusals, SaysNothingOfWhatWasThereAtTheStart) {
  Refusals refusals;
  refusals.begin({spoofed(1, 50)});
  const auto now = Clock::now();
  EXPECT_TRUE(refusals.news({spoofed(1, 50)}, now).empty());
  const auto news = refusals.news({spoofed(1, 51)}, now);
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].packets, 1U);
}

TEST(Refusals, ANumbersNextOwnerIsAnother) {
  Refusals refusals;
  const auto now = Clock::now();
  EXPECT_EQ(refusals.news({spoofed(1, 7)}, now).size(), 1U);
  const auto news = refusals.news({spoofed(2, 2)}, now + 1s);
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].packets, 2U);
  EXPECT_EQ(refusals.news({spoofed(1, 7)}, now + 2s).size(), 1U) << "who went was forgotten";
}

}  // namespace
}  // namespace metatap::dataplane
