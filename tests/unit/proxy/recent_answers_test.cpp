// SPDX-License-Identifier: Apache-2.0
#include "proxy/recent_answers.hpp"

#include <gtest/gtest.h>

namespace metatap::proxy {
namespace {

ledger::Answer with(unsigned status) {
  ledger::Answer answer;
  answer.status = status;
  return answer;
}

TEST(RecentAnswers, WhatIsToldLateOfTheFormerGuestIsNotTheNextOnes) {
  RecentAnswers recent;
  recent.begin(1);
  recent.add(with(200), 1);
  EXPECT_EQ(recent.list().answers.size(), 1U);
  recent.begin(2);
  recent.add(with(200), 1);
  EXPECT_TRUE(recent.list().answers.empty());
  recent.add(with(404), 2);
  EXPECT_EQ(recent.list().answers.at(0).status, 404U);
}

TEST(RecentAnswers, NothingIsKeptOfAGuestNobodyKnows) {
  RecentAnswers recent;
  recent.begin(0);
  recent.add(with(200), 0);
  EXPECT_TRUE(recent.list().answers.empty());
}

TEST(RecentAnswers, TheLatestAreKeptInTheirOrder) {
  RecentAnswers recent;
  recent.begin(1);
  constexpr unsigned kAll = RecentAnswers::kMost + 3;
  for (unsigned status = 0; status < kAll; ++status) {
    recent.add(with(status), 1);
  }
  const auto list = recent.list();
  EXPECT_EQ(list.older, 3U);
  ASSERT_EQ(list.answers.size(), RecentAnswers::kMost);
  EXPECT_EQ(list.answers.front().status, 3U);
  EXPECT_EQ(list.answers.back().status, kAll - 1);
}

}  // namespace
}  // namespace metatap::proxy
