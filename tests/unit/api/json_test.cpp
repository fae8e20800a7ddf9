// SPDX-License-Identifier: Apache-2.0
#include "api/json.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace metatap::api {
namespace {

std::string round_trip(std::string_view text) {
  const auto json = Json::parse(text);
  return json ? json->dump() : "error: " + json.error().message;
}

TEST(Json, PrintsAsPythonDoes) {
  EXPECT_EQ(round_trip(R"({"b":1,"a":[true,false,null]})"),
            R"({"b": 1, "a": [true, false, null]})");
  EXPECT_EQ(round_trip("{}"), "{}");
  EXPECT_EQ(round_trip("[ ]"), "[]");
  EXPECT_EQ(round_trip(R"("gr\u00fc\u00dfe 😀 \u007f \/ \" \\ \b\f\n\r\t\u0001")"),
            R"("gr\u00fc\u00dfe \ud83d\ude00 \u007f / \" \\ \b\f\n\r\t\u0001")");
}

TEST(Json, KeepsFirstPlaceAndLastValueOfARepeatedKey) {
  EXPECT_EQ(round_trip(R"({"a": 1, "b": 2, "a": 3})"), R"({"a": 3, "b": 2})");
}

TEST(Json, KeepsEveryDigitOfAnInteger) {
  EXPECT_EQ(round_trip("123456789012345678901234567890"), "123456789012345678901234567890");
  EXPECT_EQ(round_trip("18446744073709551615"), "18446744073709551615");
  EXPECT_EQ(round_trip("-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(round_trip("-0"), "0");
}

TEST(Json, FloatsAsPythonsRepr) {
  EXPECT_EQ(round_trip("1e3"), "1000.0");
  EXPECT_EQ(round_trip("2.50"), "2.5");
  EXPECT_EQ(round_trip("-0.0"), "-0.0");
  EXPECT_EQ(round_trip("1e15"), "1000000000000000.0");
  EXPECT_EQ(round_trip("1e16"), "1e+16");
  EXPECT_EQ(round_trip("1.5e300"), "1.5e+300");
  EXPECT_EQ(round_trip("0.0001"), "0.0001");
  EXPECT_EQ(round_trip("0.00001"), "1e-05");
  EXPECT_EQ(round_trip("1.25e-7"), "1.25e-07");
  EXPECT_EQ(round_trip("0.1"), "0.1");
  EXPECT_EQ(round_trip("123.456"), "123.456");
  EXPECT_EQ(round_trip("9007199254740993.0"), "9007199254740992.0");
  EXPECT_EQ(python_float(-INFINITY), "-Infinity");
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const auto* text : {"", "{", "[1,]", "{'a': 1}", "nul", "1 2", "\"\\ud800\"", "NaN"}) {
    EXPECT_FALSE(Json::parse(text)) << text;
  }
  EXPECT_TRUE(Json::parse(std::string(400, '[') + std::string(400, ']')));
  EXPECT_FALSE(Json::parse(std::string(100000, '[')));
}

TEST(Json, BrokenUtf8BecomesAReplacement) {
  std::string out;
  append_quoted(out, "a\xff\xc0\x80z");
  EXPECT_EQ(out, R"("a\ufffd\ufffd\ufffdz")");
}

}  // namespace
}  // namespace metatap::api
