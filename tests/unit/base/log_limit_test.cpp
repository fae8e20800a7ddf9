// SPDX-License-Identifier: Apache-2.0
#include "base/log_limit.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace metatap::log {
namespace {

using namespace std::chrono_literals;

TEST(LogLimit, OneLineInSoLongAndHowManyItStandsFor) {
  Limit limit(60s);
  std::chrono::steady_clock::time_point now{1h};
  EXPECT_EQ(limit.due(now), 0U);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(limit.due(now + 59s), std::nullopt);
  }
  EXPECT_EQ(limit.due(now + 60s), 1000U);
  EXPECT_EQ(limit.due(now + 120s), 0U);
}

TEST(LogLimit, WritesOneLine) {
  Limit limit;
  testing::internal::CaptureStderr();
  for (int i = 0; i < 5; ++i) {
    limit.warn("port {} is noisy", i);
  }
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("port 0 is noisy"), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

}  // namespace
}  // namespace metatap::log
