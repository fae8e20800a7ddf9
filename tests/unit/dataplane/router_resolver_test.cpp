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

std::shared_ptr<const CallerView> view_of(const CallerTable& table) {
  return CallerView::map(table.fd(), table.slots()).value();
}

class AddressResolverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    AddressTable table;
    const auto a = tenant("a"), b = tenant("b");
    const auto add = [&](std::string_view text, unsigned ifindex, AddressTable::Tenant who) {
      table.known.push_back({*Address::parse(text), ifindex, who});
    };
    add("10.0.0.10", 0, a);
    add("10.1.0.10", 0, b);
    add("fd00::10", 0, a);
    add("fe80::f816:3eff:fe00:10", 5, a);
    add("fe80::f816:3eff:fe00:10", 6, b);
    table.devices.push_back(
        {5, {{*Address::parse("10.0.0.0"), 24}, {*Address::parse("fd00::"), 64}}, tenant("")});
    table.sort();
    resolver_.publish(std::make_shared<const AddressTable>(std::move(table)));
  }
  AddressTable::Tenant tenant(std::string port_id) {
    auto origin = std::make_shared<Origin>();
    origin->port_id = std::move(port_id);
    callers_->add(next_, {origin, {}, {}});
    return {next_++, origin->owner};
  }
  Caller ask(std::string_view text, unsigned scope = 0) {
    return resolver_.caller_of(-1, peer(text, scope));
  }
  std::uint32_t next_ = 16;
  std::shared_ptr<CallerTable> callers_ = CallerTable::create(64).value();
  AddressResolver resolver_{view_of(*callers_)};
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

TEST_F(AddressResolverTest, WhoeverHasTheNumberNextIsNotTheOneBefore) {
  auto other = std::make_shared<Origin>();
  callers_->revoke(16);
  EXPECT_EQ(ask("10.0.0.10").origin, nullptr);
  callers_->add(16, {other, {}, {}});
  EXPECT_EQ(ask("10.0.0.10").origin, nullptr);
}

TEST(MarkResolver, NoTagIsNobody) {
  const auto callers = CallerTable::create(64).value();
  const MarkResolver resolver(view_of(*callers), {Path::router, "r"});
  EXPECT_EQ(resolver.caller_of(-1, peer("10.0.0.1")).origin, nullptr);
}

}  // namespace
}  // namespace metatap::dataplane
