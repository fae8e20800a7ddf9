// SPDX-License-Identifier: Apache-2.0
#include "sys/command.hpp"

#include <gtest/gtest.h>

#include <csignal>

namespace metatap::sys {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLongest = 1 << 20;

TEST(OutputOf, IsAllThatAProgramSays) {
  EXPECT_EQ(output_of({"printf", "a%s", "b c"}, 10s, kLongest), "ab c");
  EXPECT_EQ(output_of({"sh", "-c", "cat; echo said >&2; printf x"}, 10s, kLongest), "x");
  const auto much = output_of({"head", "-c", "300000", "/dev/zero"}, 10s, kLongest);
  ASSERT_TRUE(much) << much.error().message;
  EXPECT_EQ(much->size(), 300000U);
}

TEST(OutputOf, SaysWhyThereIsNone) {
  const auto absent = output_of({"metatap-no-such-program"}, 10s, kLongest);
  EXPECT_EQ(absent.error().code, ErrorCode::not_found);
  EXPECT_EQ(output_of({"false"}, 10s, kLongest).error().message, "false: it fails");
}

TEST(OutputOf, EndsWhoTalksWithoutEndOrTakesTooLong) {
  EXPECT_EQ(output_of({"cat", "/dev/zero"}, 10s, kLongest).error().code, ErrorCode::invalid);
  const auto began = std::chrono::steady_clock::now();
  // It hears no SIGTERM, has a child that keeps the pipe open, and one that has closed it.
  for (const auto* script : {"trap '' TERM; sleep 60 & sleep 60", "exec >&-; sleep 60"}) {
    const auto slow = output_of({"sh", "-c", script}, 100ms, kLongest);
    ASSERT_FALSE(slow) << script;
    EXPECT_EQ(slow.error().code, ErrorCode::timeout) << slow.error().message;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 30s);
}

}  // namespace
}  // namespace metatap::sys
