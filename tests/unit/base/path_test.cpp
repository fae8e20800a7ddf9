// SPDX-License-Identifier: Apache-2.0
#include "base/path.hpp"

#include <gtest/gtest.h>

namespace metatap {
namespace {

using namespace std::string_literals;

TEST(CanonicalPath, IsNovasReading) {
  EXPECT_EQ(canonical_path("/"), "/");
  EXPECT_EQ(canonical_path(""), "/");
  EXPECT_EQ(canonical_path("//"), "/");
  EXPECT_EQ(canonical_path("/foo/.."), "/");
  EXPECT_EQ(canonical_path("/foo/../"), "/");
  EXPECT_EQ(canonical_path("/../../.."), "/");
  EXPECT_EQ(canonical_path("//latest//meta-data///x/"), "/latest/meta-data/x");
  EXPECT_EQ(canonical_path("/latest/./meta-data/../user-data"), "/latest/user-data");
  EXPECT_EQ(canonical_path("/../openstack"), "/openstack");
  EXPECT_EQ(canonical_path("/.../x"), "/.../x");
}

TEST(CanonicalPath, CutsTheQueryOff) {
  EXPECT_EQ(canonical_path("/latest?x=/y/../.."), "/latest");
  EXPECT_EQ(canonical_path("/?"), "/");
  EXPECT_EQ(canonical_path("/latest%3Fx"), "/latest?x");
}

TEST(CanonicalPath, DecodesOnce) {
  EXPECT_EQ(canonical_path("/%6catest"), "/latest");
  EXPECT_EQ(canonical_path("/a/%2e%2E/b"), "/b");
  EXPECT_EQ(canonical_path("/a%2Fb"), "/a/b");
  EXPECT_EQ(canonical_path("/%252e%252e/b"), "/%2e%2e/b");
  EXPECT_EQ(canonical_path("/a%"), "/a%");
  EXPECT_EQ(canonical_path("/a%2"), "/a%2");
  EXPECT_EQ(canonical_path("/a%zz+"), "/a%zz+");
}

TEST(CanonicalPath, KeepsBytesThatMatchNothing) {
  EXPECT_EQ(canonical_path("/latest%00"), "/latest\0"s);
  EXPECT_EQ(canonical_path("/\xff\xfe"), "/\xff\xfe");
  const std::string long_path = "/" + std::string(8192, 'a');
  EXPECT_EQ(canonical_path(long_path), long_path);
  std::string dots;
  for (int i = 0; i < 4000; ++i) {
    dots += "/a/..";
  }
  EXPECT_EQ(canonical_path(dots), "/");
}

}  // namespace
}  // namespace metatap
