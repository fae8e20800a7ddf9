// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

namespace metatap::log {
namespace {

/// As of a thread that was left behind, and comes to it when all else has been taken down.
TEST(LogDeathTest, IsThereUntilTheProcessIsGone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a process that has not logged anything yet
  EXPECT_EXIT(
      {
        std::atexit([] { warn("the last word"); });
        warn("the first word");
        std::exit(0);
      },
      testing::ExitedWithCode(0), "the first word(.|\n)*the last word");
}

}  // namespace
}  // namespace metatap::log
