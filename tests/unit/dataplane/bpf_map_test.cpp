// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf_map.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>

#include "metatap/abi/abi.h"
#include "unit/dataplane/fake_map.hpp"

namespace metatap::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(BpfMap, KeepsTypesApart) {
  const FakeBpfMap<mt_port_key, std::uint32_t> ports;
  ASSERT_TRUE(ports.map.put({5, 100, 0}, 17));
  EXPECT_EQ(ports.map.get({5, 100, 0}).value(), 17U);
  EXPECT_EQ(ports.map.get({5, 101, 0}).value(), std::nullopt);
  EXPECT_TRUE(ports.map.erase({5, 100, 0}).value());
  EXPECT_FALSE(ports.map.erase({5, 100, 0}).value()) << "it was gone already";
}

TEST(BpfMap, EachMayChangeTheMapItWalks) {
  const FakeBpfMap<std::uint32_t, std::uint64_t> numbers;
  for (std::uint32_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(numbers.map.put(i, i * 10));
  }
  std::map<std::uint32_t, std::uint64_t> seen;
  ASSERT_TRUE(numbers.map.each([&](std::uint32_t key, std::uint64_t value) {
    seen.emplace(key, value);
    EXPECT_TRUE(numbers.map.erase(key).value());
  }));
  EXPECT_THAT(seen, ElementsAre(Pair(1, 10), Pair(2, 20), Pair(3, 30)));
  EXPECT_EQ(numbers.rows->size(), 0U);
}

TEST(BpfMap, AFullMapIsAnError) {
  const FakeBpfMap<std::uint32_t, std::uint32_t> map;
  map.rows->room = 1;
  EXPECT_TRUE(map.map.put(1, 1));
  EXPECT_FALSE(map.map.put(2, 1));
  EXPECT_TRUE(map.map.put(1, 2)) << "the row is there already";
}

TEST(KernelMap, SaysWhatItCouldNotDo) {
  const BpfMap<std::uint32_t, std::uint32_t> map(kernel_map(-1, "mt_ports"));
  EXPECT_THAT(map.put(1, 1).error().message, HasSubstr("write mt_ports"));
  EXPECT_THAT(map.get(1).error().message, HasSubstr("read mt_ports"));
  EXPECT_THAT(map.erase(1).error().message, HasSubstr("erase from mt_ports"));
  EXPECT_THAT(map.keys().error().message, HasSubstr("walk mt_ports"));
}

}  // namespace
}  // namespace metatap::dataplane
