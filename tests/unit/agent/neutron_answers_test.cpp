// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_answers.hpp"

#include <gtest/gtest.h>

namespace metatap::agent {
namespace {

using nlohmann::json;

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
