// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <gtest/gtest.h>

#include <array>

namespace metatap {
namespace {

using namespace std::string_literals;

TEST(Text, IsTrimmedAtBothEnds) {
  EXPECT_EQ(trimmed(" \t a b\t "), "a b");
  EXPECT_EQ(trimmed("a"), "a");
  EXPECT_EQ(trimmed(" \t "), "");
  EXPECT_EQ(trimmed(""), "");
  EXPECT_EQ(trimmed("\na\n"), "\na\n");  // a line's end is no blank
  EXPECT_EQ(trimmed("\r\n\v\f a \n", kWhiteSpace), "a");
}

TEST(Utf8, IsTakenCharacterByCharacter) {
  const std::array<std::pair<std::string, Utf8Character>, 6> characters{{
      {"ax", {U'a', 1}},
      {"\0x"s, {0, 1}},
      {"üx", {U'ü', 2}},
      {"€x", {U'€', 3}},
      {"\xf0\x9f\x98\x80", {0x1f600, 4}},
      {"\xf4\x8f\xbf\xbf", {0x10ffff, 4}},
  }};
  for (const auto& [text, expected] : characters) {
    const auto found = first_character(text);
    EXPECT_EQ(found.point, expected.point) << text;
    EXPECT_EQ(found.bytes, expected.bytes) << text;
  }
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("größe \xed\x9f\xbf\xee\x80\x80"));
}

TEST(Utf8, RefusesWhatIsNone) {
  for (const auto& text : {
           "\x80"s, "\xbf"s,                                           // no lead byte
           "\xc3"s, "\xe2\x82"s, "\xf0\x9f\x98"s, "\xc3x"s,            // cut off
           "\xc0\x80"s, "\xc1\xbf"s, "\xe0\x9f\xbf"s,                  // overlong
           "\xf0\x8f\xbf\xbf"s, "\xed\xa0\x80"s, "\xed\xbf\xbf"s,      // overlong, surrogates
           "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "\xfe"s, "\xff"s  // beyond the last
       }) {
    EXPECT_EQ(first_character(text).bytes, 0U) << testing::PrintToString(text);
    EXPECT_FALSE(is_utf8("a" + text)) << testing::PrintToString(text);
  }
  EXPECT_EQ(first_character("").bytes, 0U);
}

TEST(PercentCoding, GoesThereAndBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
  }
  EXPECT_EQ(percent_encoded("a/b c%~-._"), "a%2Fb%20c%25~-._");
  EXPECT_EQ(percent_decoded(percent_encoded(all)), all);
  EXPECT_EQ(percent_decoded("%41%4a%4A"), "AJJ");
}

TEST(PercentCoding, RefusesOrKeepsAStrayPercent) {
  for (const std::string text : {"%", "a%4", "%zz", "%4g", "100%"}) {
    EXPECT_EQ(percent_decoded(text), std::nullopt) << text;
    EXPECT_EQ(percent_decoded(text, StrayPercent::keep), text);
  }
  EXPECT_EQ(percent_decoded("%%41", StrayPercent::keep), "%A");
}

TEST(Base64, GoesThereAndBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
    EXPECT_EQ(base64_decoded(base64_encoded(all)), all);
    EXPECT_TRUE(is_base64(base64_encoded(all)));
  }
  EXPECT_EQ(base64_encoded(""), "");
  EXPECT_EQ(base64_encoded("fooba"), "Zm9vYmE=");
  EXPECT_EQ(base64_encoded("foob"), "Zm9vYg==");
}

TEST(Base64, SkipsForeignBytesAndWantsItsPadding) {
  EXPECT_EQ(base64_decoded("Zm9v\r\nYmFy\n"), "foobar");
  EXPECT_EQ(base64_decoded("Zm9vYg"), std::nullopt);
  EXPECT_EQ(base64_decoded("Zg=="), "f");
  EXPECT_EQ(base64_decoded(""), "");
}

TEST(Base64, IsToldFromOtherText) {
  for (const auto* text : {"Z", "Zg", "Zg=", "Zm9v\n", "Zm9 ", "Z===", "====", "Zm=v", "Zm9-"}) {
    EXPECT_FALSE(is_base64(text)) << text;
  }
  EXPECT_TRUE(is_base64(""));
  EXPECT_TRUE(is_base64("+/+/"));
}

TEST(Hex, HasTwoDigitsForEachByte) {
  EXPECT_EQ(hex_encoded(std::array<unsigned char, 4>{0, 0x0f, 0xf0, 0xff}), "000ff0ff");
  EXPECT_EQ(hex_encoded({}), "");
}

}  // namespace
}  // namespace metatap
