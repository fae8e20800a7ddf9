// SPDX-License-Identifier: Apache-2.0
#include "base/json_text.hpp"

#include <gtest/gtest.h>

namespace metatap {
namespace {

std::string nested(std::size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(JsonObject, IsOneObjectThatIsNotNestedWithoutEnd) {
  EXPECT_TRUE(json_object(R"( {"a": [1, "}"]} )"));
  EXPECT_TRUE(json_object("{\"a\": " + nested(kDeepestJson - 1) + "}"));
  for (const std::string& text : {std::string(), std::string("[]"), std::string("1"),
                                  std::string("{} {}"), std::string("{\"a\""), std::string("{}x"),
                                  std::string("<html>"), "{\"a\": " + nested(kDeepestJson) + "}"}) {
    EXPECT_FALSE(json_object(text)) << text;
    EXPECT_FALSE(ordered_json_object(text)) << text;
  }
}

TEST(JsonObject, KeepsItsOrderWhereThatCounts) {
  EXPECT_EQ(ordered_json_object(R"({"b": 1, "a": 2})")->dump(), R"({"b":1,"a":2})");
}

TEST(JsonObject, HasNothingWhereItIsNone) {
  const nlohmann::json object{{"text", "t"}, {"number", 1}};
  EXPECT_EQ(text_of(object, "text"), "t");
  EXPECT_EQ(text_of(object, "number"), "");
  EXPECT_EQ(text_of(nlohmann::json("text"), "text"), "");
  EXPECT_TRUE(member(object, "absent").is_null());
}

}  // namespace
}  // namespace metatap
