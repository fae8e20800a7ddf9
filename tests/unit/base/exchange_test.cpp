// SPDX-License-Identifier: Apache-2.0
#include "metatap/exchange.hpp"

#include <gtest/gtest.h>

namespace metatap {
namespace {

TEST(Request, FindsHeadersInAnyCase) {
  const std::array headers{Header{"x-forwarded-for", "192.0.2.1"}, Header{"X-Forwarded-For", "b"}};
  Request request;
  request.headers = headers;
  EXPECT_EQ(request.header("X-Forwarded-For"), "192.0.2.1");
  EXPECT_EQ(request.count("X-FORWARDED-FOR"), 2U);
  EXPECT_EQ(request.header("X-Instance-ID"), std::nullopt);
}

TEST(Body, KeepsTheInsertionInPlace) {
  const Body body(std::make_shared<const std::string>("ab"), 1, "-");
  EXPECT_EQ(body.str(), "a-b");
  EXPECT_EQ(body.size(), 3U);
}

}  // namespace
}  // namespace metatap
