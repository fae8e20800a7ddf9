// SPDX-License-Identifier: Apache-2.0
#include "base/url.hpp"

#include <gtest/gtest.h>

namespace metatap {
namespace {

/// What oslo.config's HostAddress takes.
TEST(Host, IsAnAddressOrAName) {
  for (const auto* host :
       {"127.0.0.1", "::1", "2001:db8::1", "localhost", "nova-api", "nova.example.org",
        "nova.example.org.", "1.example", "a1", "A", "10.0.0.x"}) {
    EXPECT_TRUE(is_host(host)) << host;
  }
  for (const std::string& host :
       {std::string(), std::string("."), std::string("10.0.0.256"), std::string("10.0.0"),
        std::string("[::1]"), std::string("::1::"), std::string("a b"), std::string("a_b"),
        std::string("-a"), std::string("a-.b"), std::string("a..b"), std::string("http://a"),
        std::string("a:80"), std::string("gr\xc3\xbc\xc3\x9f"), std::string(64, 'a'),
        std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." +
            std::string(63, 'd')}) {
    EXPECT_FALSE(is_host(host)) << host;
  }
}

TEST(Url, IsTakenApart) {
  const auto url = Url::parse("https://[2001:db8::1]:8443/a/b?c=d#e").value();
  EXPECT_TRUE(url.tls);
  EXPECT_EQ(url.host, "2001:db8::1");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.target, "/a/b?c=d");
  EXPECT_EQ(url.authority, "[2001:db8::1]:8443");
  EXPECT_EQ(Url::parse("http://h")->target, "/");
  EXPECT_EQ(Url::parse("http://h")->port, 80);
  EXPECT_EQ(Url::parse("HTTPS://h")->port, 443);
  EXPECT_EQ(Url::parse("http://h?x")->target, "/?x");
  EXPECT_EQ(Url::parse("http://h/x@y")->target, "/x@y");
  EXPECT_EQ(Url::parse("http://nova_api:80")->host, "nova_api");  // containers are called so
  for (const auto* bad :
       {"", "ftp://h", "http://", "http://h:0", "http://h:", "http://h:99999", "http://h:x",
        "http://[::1", "http://[::1]x", "h", "http://a b/", "http://10.0.0.256"}) {
    const auto refused = Url::parse(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().message.find("'" + std::string(bad) + "': "), 0U);
  }
  const auto secret = Url::parse("http://user:hush@h/");
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().message.find("hush"), std::string::npos);
}

}  // namespace
}  // namespace metatap
