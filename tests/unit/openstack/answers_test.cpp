// SPDX-License-Identifier: Apache-2.0
#include "openstack/answers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "openstack/keystone.hpp"

namespace metatap::openstack {
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

TEST(SignIn, NamesTheEndpointOfTheFirstInterfaceThatHasOne) {
  const auto read = read_sign_in(token("2026-01-02T03:04:05.000000Z")).value();
  const auto endpoint = [&](const std::vector<std::string>& interfaces, std::string_view region,
                            std::string_view type = "network") {
    return endpoint_in(read.catalog, type, interfaces, region);
  };
  EXPECT_EQ(endpoint({"internal", "public"}, "one"), "http://internal-one");
  EXPECT_EQ(endpoint({"internal", "public"}, "two"), "http://internal-two");
  EXPECT_EQ(endpoint({"admin", "public"}, ""), "http://public-one");
  EXPECT_EQ(endpoint({"admin"}, "one"), "");
  EXPECT_EQ(endpoint({"internal", "public"}, "", "compute"), "http://nova");
  EXPECT_EQ(endpoint({"public"}, "", "image"), "");
  EXPECT_EQ(read.expires, std::chrono::system_clock::time_point(1767323045s));
}

TEST(SignIn, IsGoodForLongerThanTheClockCanCount) {
  const auto expires = read_sign_in(token("9999-12-31T23:59:59.000000Z"))->expires;
  ASSERT_TRUE(expires);
  EXPECT_GT(*expires, std::chrono::system_clock::time_point(9'000'000'000s));
  EXPECT_FALSE(read_sign_in(token("soon"))->expires);
}

TEST(SignIn, IsNoneInWhatIsNotKeystones) {
  EXPECT_FALSE(read_sign_in("<html>"));
  EXPECT_FALSE(read_sign_in(R"({"token": "abc"})"));
  EXPECT_FALSE(read_sign_in("{\"token\": {\"catalog\": " + nested(1U << 20U) + "}}"));
  EXPECT_EQ(endpoint_in(json("catalog"), "network", {"public"}, ""), "");
}

TEST(Date, IsReadAsFarAsTheClockCounts) {
  using Time = std::chrono::system_clock::time_point;
  EXPECT_EQ(read_date("Sun, 06 Nov 1994 08:49:37 GMT"), Time(784111777s));
  EXPECT_GT(read_date("Fri, 31 Dec 9999 23:59:59 GMT").value(), Time(9'000'000'000s));
  EXPECT_EQ(read_date("Mon, 01 Jan 0001 00:00:00 GMT"), Time());
  EXPECT_FALSE(read_date("yesterday"));
}

TEST(Page, SaysWhereTheNextOneIs) {
  const auto page = read_page<json>(R"({"ports": [{"id": "a"}, {"id": "b"}], "ports_links": [
      {"rel": "previous", "href": "http://x/v2.0/ports?p=1"},
      {"rel": "next", "href": "http://x:9696/v2.0/ports?marker=b"}]})",
                                    "ports", "Neutron");
  ASSERT_TRUE(page);
  EXPECT_THAT(page->items, ElementsAre(json{{"id", "a"}}, json{{"id", "b"}}));
  EXPECT_EQ(page->next, "/v2.0/ports?marker=b");
  EXPECT_EQ(read_page<json>(R"({"ports": []})", "ports", "Neutron")->next, "");
}

TEST(Page, IsRefusedWhereItIsNone) {
  EXPECT_EQ(read_page<json>("[]", "ports", "Neutron").error().message,
            "Neutron's answer is not a JSON object");
  EXPECT_EQ(read_page<json>(R"({"ports": {}})", "ports", "Neutron").error().message,
            "Neutron's answer has no ports");
  EXPECT_FALSE(read_page<json>("{\"ports\": " + nested(1U << 20U) + "}", "ports", "Neutron"));
}

TEST(ServiceUrl, IsTakenApart) {
  const auto url = ServiceUrl::parse("https://[2001:db8::1]:5000/v3/").value();
  EXPECT_TRUE(url.tls);
  EXPECT_EQ(url.host, "2001:db8::1");
  EXPECT_EQ(url.port, 5000);
  EXPECT_EQ(url.path, "/v3");
  EXPECT_EQ(ServiceUrl::parse("http://host")->port, 80);
  EXPECT_EQ(ServiceUrl::parse("https://host")->port, 443);
  for (const auto* text : {"", "host:1", "ftp://host", "http://", "http://host:0", "http://host:x",
                           "http://u:p@host"}) {
    EXPECT_FALSE(ServiceUrl::parse(text)) << text;
  }
}

}  // namespace
}  // namespace metatap::openstack
