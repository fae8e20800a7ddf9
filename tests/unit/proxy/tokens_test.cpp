// SPDX-License-Identifier: Apache-2.0
#include "proxy/tokens.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/text.hpp"
#include "proxy/token_key_file.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::proxy {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t kNow = 1'000'000;

std::int64_t after(auto duration) {
  return kNow + std::chrono::duration_cast<milliseconds>(duration).count();
}

TokenKeys fresh(std::string boot = "this boot") {
  return *TokenKeys(std::move(boot)).renewed(kNow);
}

class Tokens : public ::testing::Test {
 protected:
  [[nodiscard]] bool opens(std::string_view token) const { return keys_.opens(token, red_, kNow); }

  TokenKeys keys_ = fresh();
  TokenHolder red_{"port-red", 7, 1};
  std::string token_ = *keys_.seal(red_, after(seconds(10)), kNow);
};

TEST_F(Tokens, OpenForTheirHolderUntilTheyExpire) {
  EXPECT_EQ(token_.size(), 56U) << "as long as those that clients know";
  EXPECT_TRUE(keys_.opens(token_, red_, after(milliseconds(9'999))));
  EXPECT_FALSE(keys_.opens(token_, red_, after(seconds(10))));
}

TEST_F(Tokens, OpenForNobodyElse) {
  EXPECT_FALSE(keys_.opens(token_, {"port-blue", 7, 1}, kNow)) << "another port";
  EXPECT_FALSE(keys_.opens(token_, {"port-red", 8, 1}, kNow)) << "plugged in again";
  EXPECT_FALSE(keys_.opens(token_, {"port-red", 7, 2}, kNow)) << "another's instance";
  EXPECT_FALSE(fresh("another boot").opens(token_, red_, kNow));
  const auto same_key = TokenKeys::of(
      [&] {
        auto bytes = keys_.bytes();
        return bytes.replace(bytes.find("this boot"), 9, "next boot");
      }(),
      "next boot");
  ASSERT_TRUE(same_key);
  EXPECT_FALSE(same_key->opens(token_, red_, kNow)) << "the boot itself is bound to it";
}

TEST_F(Tokens, SayNothingThatCanBeRead) {
  EXPECT_NE(token_, *keys_.seal(red_, after(seconds(10)), kNow));
  const auto bytes = *base64_decoded(token_);
  EXPECT_EQ(bytes.find("red"), std::string::npos);
  const std::int64_t expires = after(seconds(10));
  EXPECT_EQ(bytes.find(std::string(reinterpret_cast<const char*>(&expires), 4)), std::string::npos);
}

TEST_F(Tokens, OfAnyOtherSpellingDoNotOpen) {
  ASSERT_TRUE(opens(token_));
  for (std::size_t size = 0; size < token_.size(); ++size) {
    EXPECT_FALSE(opens(token_.substr(0, size))) << size;
  }
  for (const auto* more : {"=", "A", " ", "\n", "====", "AAAA"}) {
    EXPECT_FALSE(opens(token_ + more));
    EXPECT_FALSE(opens(more + token_));
  }
  EXPECT_FALSE(opens(std::string(1 << 20, 'A')));
  EXPECT_FALSE(opens(std::string(56, '\0')));
  auto bytes = *base64_decoded(token_);
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int bit : {0, 3, 7}) {
      auto other = bytes;
      other[at] = static_cast<char>(other[at] ^ (1 << bit));
      EXPECT_FALSE(opens(base64_encoded(other))) << at;
    }
  }
  // The unused bits of the last digit: another text with the same bytes.
  const auto digit = kBase64Alphabet.find(token_[54]);
  auto other = token_;
  other[54] = kBase64Alphabet[digit ^ 1U];
  EXPECT_EQ(base64_decoded(other), base64_decoded(token_));
  EXPECT_FALSE(opens(other));
}

TEST_F(Tokens, OutliveTheRenewalOfTheKeysByTheLongestTheyMayLast) {
  const auto day = hours(24);
  EXPECT_FALSE(keys_.old(after(day) - 1));
  ASSERT_TRUE(keys_.old(after(day)));
  auto next = *keys_.renewed(after(day));
  // Others may not know the new key yet: the old one seals on for a moment.
  const auto early = *next.seal(red_, after(day + hours(6)), after(day + seconds(1)));
  EXPECT_TRUE(keys_.opens(early, red_, after(day + seconds(1))));
  const auto late = *next.seal(red_, after(day + hours(7)), after(day + seconds(60)));
  EXPECT_FALSE(keys_.opens(late, red_, after(day + seconds(60))));
  EXPECT_TRUE(next.opens(late, red_, after(day + seconds(60))));
  EXPECT_TRUE(next.opens(early, red_, after(day + hours(5))));
  // Yesterday's, with the next renewal.
  auto last = *next.renewed(after(2 * day));
  EXPECT_FALSE(last.opens(early, red_, after(day + hours(5))));
  EXPECT_TRUE(last.opens(late, red_, after(day + hours(5))));
}

TEST_F(Tokens, KeysAreReadAsTheyWereWritten) {
  const auto read = TokenKeys::of(keys_.bytes(), "this boot");
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->opens(token_, red_, kNow));
  EXPECT_FALSE(TokenKeys::of(keys_.bytes(), "another boot"));
  EXPECT_FALSE(TokenKeys::of(keys_.bytes() + "x", "this boot"));
  EXPECT_FALSE(TokenKeys::of("", "this boot"));
  EXPECT_FALSE(TokenKeys::of(std::string(32, 'k'), "this boot")) << "some other key file";
}

class KeyFile : public ::testing::Test {
 protected:
  [[nodiscard]] std::string contents() const {
    std::ifstream in(file_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  TemporaryDirectory directory_;
  std::filesystem::path file_ = directory_.path() / "tokens.key";
  TokenHolder red_{"port-red", 7, 1};
};

TEST_F(KeyFile, HasTheKeysForWhoComesNext) {
  TokenKeyFile one(file_, "this boot");
  one.look(kNow);
  struct stat about{};
  ASSERT_EQ(::stat(file_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07U, 0U) << "not for everybody's eyes";
  const auto token = *one.keys()->seal(red_, after(hours(1)), kNow);
  TokenKeyFile next(file_, "this boot");
  next.look(after(seconds(5)));
  EXPECT_TRUE(next.keys()->opens(token, red_, after(seconds(5))));
}

TEST_F(KeyFile, TwoWorkersKnowEachOthersKeysBeforeTheyAreUsed) {
  TokenKeyFile old_one(file_, "this boot"), new_one(file_, "this boot");
  old_one.look(kNow);
  new_one.look(kNow);
  new_one.look(after(hours(25)));  // renews
  const auto at = after(hours(25) + seconds(40));
  old_one.look(at);
  const auto token = *new_one.keys()->seal(red_, at + 60'000, at);
  EXPECT_TRUE(old_one.keys()->opens(token, red_, at));
}

TEST_F(KeyFile, OfAnotherBootOrDamagedBeginsAnew) {
  TokenKeyFile(file_, "last boot").look(kNow);
  const auto before = contents();
  TokenKeyFile now(file_, "this boot");
  now.look(kNow);
  EXPECT_NE(contents(), before);
  std::ofstream(file_, std::ios::binary | std::ios::trunc) << std::string(100, 'x');
  TokenKeyFile after_damage(file_, "this boot");
  after_damage.look(kNow);
  EXPECT_TRUE(after_damage.keys()->seal(red_, after(hours(1)), kNow));
  EXPECT_TRUE(TokenKeys::of(contents(), "this boot"));
}

TEST_F(KeyFile, ThatCannotBeBelievedIsLeftAloneAndTokensEndWithTheProcess) {
  std::ofstream(file_, std::ios::binary) << std::string(100, 'x');
  ASSERT_EQ(::chmod(file_.c_str(), 0666), 0);
  const auto before = contents();
  TokenKeyFile keys(file_, "this boot");
  keys.look(kNow);
  EXPECT_EQ(contents(), before);
  EXPECT_TRUE(keys.keys()->seal(red_, after(hours(1)), kNow));
}

TEST_F(KeyFile, IsNotNeeded) {
  TokenKeyFile keys("", "this boot");
  keys.look(kNow);
  const auto token = *keys.keys()->seal(red_, after(hours(1)), kNow);
  keys.look(kNow + 1);
  EXPECT_TRUE(keys.keys()->opens(token, red_, kNow));
}

}  // namespace
}  // namespace metatap::proxy
