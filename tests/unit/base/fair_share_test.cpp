// SPDX-License-Identifier: Apache-2.0
#include "base/fair_share.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <optional>
#include <vector>

namespace metatap {
namespace {

TEST(FairShare, AloneOneGetsHalfOfWhatIsNotKept) {
  std::size_t own = 0;
  while (fair_share(own, own, 1024)) {
    ++own;
  }
  EXPECT_EQ(own, 448U);
}

TEST(FairShare, ThoseWhoTakeAllTheyCanGetEndWithTheSame) {
  for (const std::size_t greedy : {1U, 2U, 16U, 100U, 1000U}) {
    std::vector<std::size_t> own(greedy, 0);
    std::size_t taken = 0;
    for (bool more = true; more;) {
      more = false;
      for (std::size_t& one : own) {
        if (fair_share(one, taken, 1024)) {
          ++one;
          ++taken;
          more = true;
        }
      }
    }
    for (const std::size_t one : own) {
      EXPECT_NEAR(static_cast<double>(one), 896.0 / static_cast<double>(greedy + 1), 1.0);
    }
    EXPECT_TRUE(fair_share(0, taken, 1024)) << greedy << ": no room for one who has none";
  }
}

TEST(FairShare, ThoseWhoTakeAllTheyCanOneAfterTheOtherLeaveTheEighth) {
  std::size_t taken = 0;
  for (int port = 0; port < 64; ++port) {
    for (std::size_t own = 0; fair_share(own, taken, 1024); ++own) {
      ++taken;
    }
  }
  EXPECT_LE(taken, 896U + 64U);
  EXPECT_TRUE(fair_share(0, taken, 1024));
}

TEST(FairShare, TheLastPlaceIsForOneWhoHasNone) {
  EXPECT_TRUE(fair_share(0, 1023, 1024));
  EXPECT_FALSE(fair_share(1, 1023, 1024));
  EXPECT_FALSE(fair_share(1, 896, 1024));
  EXPECT_FALSE(fair_share(0, 1024, 1024));
}

TEST(FairRoom, GivesPlacesBack) {
  const auto room = std::make_shared<FairRoom>(4);
  std::optional<FairRoom::Place> first = room->enter("a");
  const auto second = room->enter("a");
  EXPECT_TRUE(*first && second);
  EXPECT_FALSE(room->enter("a"));
  EXPECT_TRUE(room->enter("b"));
  first.reset();
  EXPECT_TRUE(room->enter("a"));
}

TEST(FairRoom, WithoutACapHasRoomForAll) {
  const auto room = std::make_shared<FairRoom>(0);
  std::vector<FairRoom::Place> places;
  for (int i = 0; i < 1000; ++i) {
    places.push_back(room->enter("a"));
    EXPECT_TRUE(places.back());
  }
}

}  // namespace
}  // namespace metatap
