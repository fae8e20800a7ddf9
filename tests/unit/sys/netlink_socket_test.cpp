// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_socket.hpp"

#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <string>

#include "sys/netlink.hpp"
#include "unit/own_namespaces.hpp"

namespace metatap::sys {
namespace {

/// `ip link show`; `each` is told of every device.
Status ask_for_links(NetlinkSocket& socket, const std::function<void()>& each) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  auto* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = RTM_GETLINK;
  message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* family = static_cast<rtgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtgenmsg)));
  family->rtgen_family = AF_UNSPEC;
  return socket.dump(message, "list devices", [&](const nlmsghdr*) { each(); });
}

TEST(NetlinkSocket, AnAnswerThatAChangeInterruptsIsNotTheNextQuestions) {
  static constexpr unsigned kDevices =
      100;  // more than one datagram has room for, and more than two
  const bool ran = testing::in_own_namespaces([] {
    auto netlink = Netlink::open().value();
    for (unsigned pair = 0; pair < kDevices / 2; ++pair) {
      ASSERT_TRUE(
          netlink.add_veth({"a" + std::to_string(pair), {}}, {"b" + std::to_string(pair), {}}));
    }
    const auto doomed = netlink.link("a0").value();
    auto socket = NetlinkSocket::open(NETLINK_ROUTE, "rtnetlink").value();
    unsigned seen = 0;
    const auto interrupted = ask_for_links(socket, [&] {
      if (++seen == 1) {
        EXPECT_TRUE(netlink.delete_link(doomed.index));
      }
    });
    ASSERT_FALSE(interrupted) << "the kernel says that it was interrupted";
    ASSERT_LT(seen, kDevices) << "part of the answer was still to come";
    for (int question = 0; question < 3; ++question) {
      seen = 0;
      const auto asked = ask_for_links(socket, [&] { ++seen; });
      EXPECT_TRUE(asked) << asked.error().message;
      EXPECT_EQ(seen, kDevices - 2 + 1) << "and lo";
    }
  });
  if (!ran) {
    GTEST_SKIP() << "needs root for namespaces of its own";
  }
}

}  // namespace
}  // namespace metatap::sys
