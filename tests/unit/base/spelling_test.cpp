// SPDX-License-Identifier: Apache-2.0
#include "base/spelling.hpp"

#include <gtest/gtest.h>

#include <string>

#include "base/named_id.hpp"

namespace metatap {
namespace {

TEST(Spelling, OfKeysCountsNeitherCaseNorHyphens) {
  const std::vector<std::string_view> known{"name", "mac_address", "hostname", "user_data", "id"};
  EXPECT_EQ(meant_key("nmae", known), "name");
  EXPECT_EQ(meant_key("Host-Name", known), "hostname");
  EXPECT_EQ(meant_key("userdata", known), "user_data");
  EXPECT_EQ(meant_key("mac", known), "mac_address");
  EXPECT_EQ(meant_key("colour", known), "");
  EXPECT_EQ(meant_key("", known), "");
  EXPECT_EQ(meant_key(std::string(5000, 'n'), known), "");
}

TEST(NamedId, IsAlwaysTheSame) {
  EXPECT_EQ(uuid_of_name("guest/vm1"), "362c31e1-4521-56a9-a2a7-623ec9380663");
  EXPECT_NE(uuid_of_name("guest/vm1"), uuid_of_name("guest/vm2"));
  EXPECT_EQ(digits_of_name("guest/vm1", 17).size(), 17U);
}

}  // namespace
}  // namespace metatap
