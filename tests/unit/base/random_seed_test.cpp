// SPDX-License-Identifier: Apache-2.0
#include "base/random_seed.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/text.hpp"

namespace metatap {
namespace {

TEST(RandomSeed, IsBase64OfSoManyBytes) {
  for (int i = 0; i < 100; ++i) {
    std::string text = "before ";
    append_random_seed(text);
    ASSERT_TRUE(text.starts_with("before "));
    text.erase(0, 7);
    ASSERT_EQ(text.size(), kSeedText);
    const auto bytes = base64_decoded(text);
    ASSERT_TRUE(bytes) << text;
    EXPECT_EQ(bytes->size(), kSeedBytes);
    EXPECT_EQ(base64_encoded(*bytes), text) << "nothing is in the bits that say nothing";
  }
}

/// Each bound is ten standard deviations away: it does not fail by chance.
TEST(RandomSeed, AnyBitIsSetInHalfOfThem) {
  constexpr int kSeeds = 2'000;
  std::set<std::string> seen;
  std::map<char, int> digits;
  std::vector<int> set(kSeedBytes * 8);
  for (int i = 0; i < kSeeds; ++i) {
    std::string text;
    append_random_seed(text);
    for (const char digit : text.substr(0, kSeedText - 2)) {
      ++digits[digit];
    }
    const auto bytes = base64_decoded(text).value();
    for (std::size_t bit = 0; bit < set.size(); ++bit) {
      set[bit] += static_cast<unsigned char>(bytes[bit / 8]) >> bit % 8 & 1;
    }
    seen.insert(std::move(text));
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(kSeeds));
  EXPECT_EQ(digits.size(), 64U);
  const double each = kSeeds * static_cast<double>(kSeedText - 2) / 64;
  for (const auto& [digit, count] : digits) {
    EXPECT_NEAR(count, each, 0.07 * each) << digit;
  }
  for (const int count : set) {
    EXPECT_NEAR(count, kSeeds / 2, 224);
  }
}

}  // namespace
}  // namespace metatap
