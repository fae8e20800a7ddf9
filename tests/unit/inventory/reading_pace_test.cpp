// SPDX-License-Identifier: Apache-2.0
#include "inventory/reading_pace.hpp"

#include <gtest/gtest.h>

namespace metatap {
namespace {

using namespace std::chrono_literals;

class ReadingPaceTest : public testing::Test {
 protected:
  [[nodiscard]] bool may_read() const { return now_ >= pace_.next(); }
  void read(ReadingPace::Clock::duration cost) {
    pace_.asked(now_);
    const auto begin = now_;
    now_ += cost;
    pace_.done(begin, now_);
  }
  ReadingPace pace_;
  ReadingPace::Clock::time_point now_ = ReadingPace::Clock::now();
};

TEST_F(ReadingPaceTest, TheFirstChangeAfterAWhileIsReadAtOnce) {
  EXPECT_TRUE(may_read());
  read(2ms);
  now_ += 10s;
  EXPECT_TRUE(may_read());
  read(2ms);
  now_ += 10s;
  EXPECT_TRUE(may_read());
}

TEST_F(ReadingPaceTest, WhileMoreComeItRestsAsLongAsReadingIsDear) {
  read(2ms);
  now_ += 39ms;
  EXPECT_FALSE(may_read());
  now_ += 1ms;
  EXPECT_TRUE(may_read());
  read(10ms);
  now_ += 199ms;
  EXPECT_FALSE(may_read());
  now_ += 1ms;
  EXPECT_TRUE(may_read());
}

TEST_F(ReadingPaceTest, NobodyWaitsLongHoweverDearItWas) {
  read(7s);
  now_ += 999ms;
  EXPECT_FALSE(may_read());
  now_ += 1ms;
  EXPECT_TRUE(may_read());
  read(1ms);  // and it is forgotten with the next
  now_ += 20ms;
  EXPECT_TRUE(may_read());
}

/// What comes while one is under way is for the next one.
TEST_F(ReadingPaceTest, OneThatWasAskedForIsNotAskedForAgain) {
  read(2ms);
  now_ += 10s;
  pace_.asked(now_);
  EXPECT_FALSE(may_read());
  now_ += 40ms;  // it never came to that: the database was away
  EXPECT_TRUE(may_read());
}

}  // namespace
}  // namespace metatap
