// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_resolver.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <chrono>
#include <cstring>

namespace metatap::dataplane {
namespace {

sockaddr_storage peer(std::string_view text, unsigned scope = 0) {
  const auto address = *Address::parse(text);
  sockaddr_storage storage{};
  if (address.family == AF_INET) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, address.bytes.data(), 4);
    std::memcpy(&storage, &v4, sizeof(v4));
  } else {
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_scope_id = scope;
    std::memcpy(&v6.sin6_addr, address.bytes.data(), 16);
    std::memcpy(&storage, &v6, sizeof(v6));
  }
  return storage;
}

std::shared_ptr<Origin> origin(std::string port_id) {
  auto made = std::make_shared<Origin>();
  made->port_id = std::move(port_id);
  return made;
}

class AddressResolverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto table = std::make_shared<AddressTable>();
    const auto add = [&](std::string_view text, unsigned ifindex, const std::string& port) {
      table->known.push_back({*Address::parse(text), ifindex, origin(port)});
    };
    add("10.0.0.10", 0, "a");
    add("10.1.0.10", 0, "b");
    add("fd00::10", 0, "a");
    add("fe80::f816:3eff:fe00:10", 5, "a");
    add("fe80::f816:3eff:fe00:10", 6, "b");
    table->devices.push_back(
        {5, {{*Address::parse("10.0.0.0"), 24}, {*Address::parse("fd00::"), 64}}, origin("")});
    table->sort();
    resolver_.publish(std::move(table));
  }
  Caller ask(std::string_view text, unsigned scope = 0) {
    return resolver_.caller_of(-1, peer(text, scope));
  }
  AddressResolver resolver_;
};

TEST_F(AddressResolverTest, KnowsPortsByAddress) {
  EXPECT_EQ(ask("10.0.0.10").origin->port_id, "a");
  EXPECT_EQ(ask("10.1.0.10").origin->port_id, "b");
  EXPECT_EQ(ask("fd00::10").origin->port_id, "a");
  EXPECT_EQ(ask("10.0.0.10").address, "10.0.0.10");
}

TEST_F(AddressResolverTest, TheSameLinkLocalAddressOnTwoDevicesIsTwoPorts) {
  EXPECT_EQ(ask("fe80::f816:3eff:fe00:10", 5).origin->port_id, "a");
  EXPECT_EQ(ask("fe80::f816:3eff:fe00:10", 6).origin->port_id, "b");
  EXPECT_EQ(ask("fe80::f816:3eff:fe00:10", 5).address, "fe80::f816:3eff:fe00:10");
}

TEST_F(AddressResolverTest, AnAddressOfOurSubnetsWithoutAPortHasAnOriginWithoutOne) {
  EXPECT_EQ(ask("10.0.0.77").origin->port_id, "");
  EXPECT_EQ(ask("fd00::77").origin->port_id, "");
  EXPECT_EQ(ask("fe80::77", 5).origin->port_id, "");
}

TEST_F(AddressResolverTest, AnythingElseIsNobody) {
  EXPECT_EQ(ask("203.0.113.1").origin, nullptr);
  EXPECT_EQ(ask("10.0.1.10").origin, nullptr);
  EXPECT_EQ(ask("fe80::77", 9).origin, nullptr);
}

TEST(AddressOf, MappedV4IsV4) {
  EXPECT_EQ(address_of(peer("::ffff:10.0.0.1")).text(), "10.0.0.1");
}

TEST(MarkResolver, NoTagIsNobody) {
  const auto slots = std::make_shared<SlotTable>(nullptr, 64, std::chrono::seconds(1));
  const MarkResolver resolver(slots, {Path::router, "r"});
  EXPECT_EQ(resolver.caller_of(-1, peer("10.0.0.1")).origin, nullptr);
}

}  // namespace
}  // namespace metatap::dataplane
