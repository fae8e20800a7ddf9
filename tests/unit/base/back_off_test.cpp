// SPDX-License-Identifier: Apache-2.0
#include "base/back_off.hpp"

#include <gtest/gtest.h>

namespace metatap {
namespace {

using namespace std::chrono_literals;

TEST(BackOff, IsPatientThenRestsForPausesThatDouble) {
  BackOff back_off;
  BackOff::Clock::time_point now{1h};
  for (int i = 0; i < BackOff::kPatience; ++i) {
    EXPECT_TRUE(back_off.may_try(now));
    back_off.failed(now);
  }
  for (const auto pause : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
    EXPECT_TRUE(back_off.resting(now));
    EXPECT_FALSE(back_off.may_try(now + pause - 1ms));
    now += pause;
    EXPECT_TRUE(back_off.may_try(now));
    EXPECT_FALSE(back_off.may_try(now)) << "one tries, the others wait";
    back_off.failed(now);
  }
  back_off.succeeded();
  EXPECT_TRUE(back_off.may_try(now) && back_off.may_try(now));
}

}  // namespace
}  // namespace metatap
