// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_answers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/json_text.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace std::chrono_literals;

std::string nested(std::size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

std::string token(const std::string& expires) {
  return R"({"token": {"expires_at": ")" + expires + R"(", "catalog": [
      {"type": "compute", "endpoints": [{"interface": "public", "url": "http://nova"}]},
      {"type": "network", "endpoints": [
        {"interface": "public", "region_id": "one", "url": "http://public-one"},
        {"interface": "internal", "region_id": "two", "url": "http://internal-two"},
        {"interface": "internal", "region": "one", "url": "http://internal-one"}]}]}})";
}

TEST(JsonObject, IsOneObjectThatIsNotNestedWithoutEnd) {
  EXPECT_TRUE(json_object(R"( {"a": [1, "}"]} )"));
  EXPECT_TRUE(json_object("{\"a\": " + nested(kDeepestJson - 1) + "}"));
  for (const std::string& text : {std::string(), std::string("[]"), std::string("1"),
                                  std::string("{} {}"), std::string("{\"a\""), std::string("{}x"),
                                  std::string("<html>"), "{\"a\": " + nested(kDeepestJson) + "}"}) {
    EXPECT_FALSE(json_object(text)) << text;
  }
}

TEST(KeystoneToken, NamesTheEndpointOfTheFirstInterfaceThatHasOne) {
  const auto text = token("2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(read_token(text, {"internal", "public"}, "one")->endpoint, "http://internal-one");
  EXPECT_EQ(read_token(text, {"internal", "public"}, "two")->endpoint, "http://internal-two");
  EXPECT_EQ(read_token(text, {"admin", "public"}, "")->endpoint, "http://public-one");
  EXPECT_EQ(read_token(text, {"admin"}, "one")->endpoint, "");
  EXPECT_EQ(read_token(text, {"admin"}, "one")->expires,
            std::chrono::system_clock::time_point(1767323045s));
}

TEST(KeystoneToken, IsGoodForLongerThanTheClockCanCount) {
  const auto expires = read_token(token("9999-12-31T23:59:59.000000Z"), {"public"}, "")->expires;
  ASSERT_TRUE(expires);
  EXPECT_GT(*expires, std::chrono::system_clock::time_point(9'000'000'000s));
  EXPECT_FALSE(read_token(token("soon"), {"public"}, "")->expires);
}

TEST(KeystoneToken, IsNoneInWhatIsNotKeystones) {
  EXPECT_FALSE(read_token("<html>", {}, ""));
  EXPECT_FALSE(read_token(R"({"token": "abc"})", {}, ""));
  EXPECT_FALSE(read_token("{\"token\": {\"catalog\": " + nested(1U << 20U) + "}}", {}, ""));
}

TEST(PortPage, SaysWhereTheNextOneIs) {
  const auto page = read_ports(R"({"ports": [{"id": "a"}, {"id": "b"}], "ports_links": [
      {"rel": "previous", "href": "http://x/v2.0/ports?p=1"},
      {"rel": "next", "href": "http://x:9696/v2.0/ports?marker=b"}]})");
  ASSERT_TRUE(page);
  EXPECT_THAT(page->ports, ElementsAre(json{{"id", "a"}}, json{{"id", "b"}}));
  EXPECT_EQ(page->next, "/v2.0/ports?marker=b");
  EXPECT_EQ(read_ports(R"({"ports": []})")->next, "");
}

TEST(PortPage, IsRefusedWhereItIsNone) {
  EXPECT_THAT(read_ports("[]").error().message, HasSubstr("not a JSON object"));
  EXPECT_THAT(read_ports(R"({"ports": {}})").error().message, HasSubstr("no ports"));
  EXPECT_FALSE(read_ports("{\"ports\": " + nested(1U << 20U) + "}"));
}

TEST(PortIn, IsTheOneThatWasAskedFor) {
  const json port{{"id", "p"},         {"network_id", "n"},
                  {"device_id", "i"},  {"project_id", "t"},
                  {"mac_address", ""}, {"fixed_ips", json::array({{{"ip_address", "10.0.0.5"}}})}};
  const PortQuestion by_id{.port_id = "p", .network_id = {}, .router_id = {}, .locator = {}};
  PortQuestion by_address{.port_id = {},
                          .network_id = "n",
                          .router_id = {},
                          .locator = Locator::of_address("10.0.0.5")};
  Port expected;
  expected.id = "p";
  expected.network_id = "n";
  expected.device_id = "i";
  expected.project_id = "t";
  EXPECT_EQ(port_in({port}, by_id, {}), expected);
  EXPECT_EQ(port_in({port}, by_address, {"n"}), expected);
  EXPECT_EQ(port_in({}, by_id, {}).error().code, ErrorCode::not_found);
  EXPECT_EQ(port_in({port, port}, by_id, {}).error().code, ErrorCode::not_found);
  EXPECT_EQ(port_in({port}, by_address, {"other"}).error().code, ErrorCode::unavailable);
  EXPECT_EQ(port_in({json("p")}, by_id, {}).error().code, ErrorCode::unavailable);
  by_address.locator = Locator::of_address("10.0.0.6");
  EXPECT_EQ(port_in({port}, by_address, {"n"}).error().code, ErrorCode::unavailable);
}

}  // namespace
}  // namespace metatap::agent
