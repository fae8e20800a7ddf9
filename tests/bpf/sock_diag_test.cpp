// SPDX-License-Identifier: Apache-2.0
// Listing and destroying sockets, of this kernel and in a namespace of our own.
#include "sys/sock_diag.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include "bpf/private_namespace.hpp"

namespace metatap::sys {
namespace {

constexpr std::uint32_t kMark = 0x10015;

/// A listener on the loopback, and connections to it of which we have the far end.
class Service {
 public:
  explicit Service(int family) : family_(family) {
    listener_.reset(::socket(family, SOCK_STREAM, 0));
    const auto bound = address(0);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&bound), sizeof(bound)), 0);
    EXPECT_EQ(::listen(listener_.get(), 64), 0);
    sockaddr_in6 own{};
    socklen_t size = sizeof(own);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&own), &size);
    port_ = ntohs(own.sin6_port);  // at the same place in sockaddr_in
  }
  UniqueFd connect() const {
    UniqueFd fd(::socket(family_, SOCK_STREAM, 0));
    const auto to = address(port_);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    return fd;
  }
  UniqueFd accept() const {
    UniqueFd fd(::accept(listener_.get(), nullptr, nullptr));
    EXPECT_TRUE(fd);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &kMark, sizeof(kMark));
    return fd;
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] Address local() const {
    return Address::parse(family_ == AF_INET ? "127.0.0.1" : "::1").value();
  }

 private:
  [[nodiscard]] sockaddr_in6 address(std::uint16_t port) const {
    sockaddr_in6 all{};
    if (family_ == AF_INET) {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      std::memcpy(&all, &v4, sizeof(v4));
    } else {
      all.sin6_family = AF_INET6;
      all.sin6_port = htons(port);
      all.sin6_addr = in6addr_loopback;
    }
    return all;
  }
  int family_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
};

class Sockets : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (const auto missing = testing::missing_privilege(); !missing.empty()) {
      GTEST_SKIP() << missing;
    }
    testing::enter_private_namespace();
    auto netlink = Netlink::open();
    ASSERT_TRUE(netlink && netlink->set_up(netlink->link("lo")->index));
    auto diag = SockDiag::open();
    ASSERT_TRUE(diag) << diag.error().message;
    diag_.emplace(*std::move(diag));
    const auto able = diag_->sweep([](const auto&) { return false; });
    if (!able) {
      GTEST_SKIP() << able.error().message;
    }
    service_.emplace(GetParam());
  }
  /// The service's side of its connections, by state.
  std::multiset<int> states() {
    std::multiset<int> found;
    const auto sockets = diag_->tcp_sockets();
    EXPECT_TRUE(sockets) << sockets.error().message;
    for (const auto& socket : *sockets) {
      if (socket.local_port == service_->port()) {
        found.insert(socket.state);
      }
    }
    return found;
  }
  /// Those of this test: an earlier one's are remembered for a minute, with their mark.
  Result<SockDiag::Swept> sweep_marked() {
    const auto port = service_->port();
    return diag_->sweep([port](const TcpSocket& socket) {
      return socket.mark == kMark && socket.local_port == port;
    });
  }

  std::optional<SockDiag> diag_;
  std::optional<Service> service_;
};

TEST_P(Sockets, AreListedWithTheirAddressesAndMark) {
  const auto far = service_->connect();
  const auto near = service_->accept();
  const auto sockets = diag_->tcp_sockets({service_->local()});
  ASSERT_TRUE(sockets) << sockets.error().message;
  const auto found = std::ranges::find_if(*sockets, [&](const auto& socket) {
    return socket.local_port == service_->port() && !socket.listening();
  });
  ASSERT_NE(found, sockets->end());
  EXPECT_EQ(found->state, TCP_ESTABLISHED);
  EXPECT_EQ(found->local, service_->local());
  EXPECT_EQ(found->peer, service_->local());
  EXPECT_EQ(found->mark, kMark);
  // The kernel's filter leaves out all others.
  const auto none =
      diag_->tcp_sockets({Address::parse(GetParam() == AF_INET ? "127.0.0.2" : "::2").value()});
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->empty());
}

TEST_P(Sockets, AnOpenConnectionEndsOnBothSides) {
  const auto far = service_->connect();
  const auto near = service_->accept();
  const auto swept = sweep_marked();
  ASSERT_TRUE(swept) << swept.error().message;
  EXPECT_EQ(swept->destroyed, 1U);
  EXPECT_EQ(swept->left, 0U);
  char byte = 0;
  EXPECT_EQ(::recv(near.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNABORTED);
  EXPECT_EQ(::recv(far.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_EQ(states(), std::multiset<int>{TCP_LISTEN}) << "who listens is left alone";
}

TEST_P(Sockets, AnOrphanWithBytesLeftEnds) {
  const auto far = service_->connect();
  {
    const auto near = service_->accept();
    const int small = 4096;
    ::setsockopt(far.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    const std::vector<char> much(4 << 20);
    EXPECT_GT(::send(near.get(), much.data(), much.size(), MSG_DONTWAIT), 0);
  }
  EXPECT_EQ(states(), (std::multiset<int>{TCP_FIN_WAIT1, TCP_LISTEN}));
  const auto swept = sweep_marked();
  ASSERT_TRUE(swept) << swept.error().message;
  EXPECT_EQ(swept->destroyed, 1U);
  EXPECT_EQ(swept->left, 0U);
  if (states() != std::multiset<int>{TCP_LISTEN}) {
    GTEST_SKIP() << "this kernel leaves an orphan in the table, with nothing to send";
  }
}

TEST_P(Sockets, WhatIsOnlyRememberedGoesOrDoesNotCount) {
  {
    const auto far = service_->connect();
    service_->accept();  // and closed at once: TIME_WAIT is the service's
  }
  ASSERT_EQ(states(), (std::multiset<int>{TCP_TIME_WAIT, TCP_LISTEN}));
  const auto port = service_->port();
  const auto swept =
      diag_->sweep([&](const TcpSocket& socket) { return socket.local_port == port; });
  ASSERT_TRUE(swept) << swept.error().message;
  EXPECT_EQ(swept->left, 0U);
  if (swept->destroyed == 0) {
    GTEST_SKIP() << "this kernel does not destroy a TIME_WAIT";
  }
  EXPECT_EQ(states(), std::multiset<int>{TCP_LISTEN});
}

TEST_P(Sockets, OneThatIsGoneIsNoError) {
  const auto far = service_->connect();
  const auto near = service_->accept();
  auto sockets = diag_->tcp_sockets({service_->local()}).value();
  const auto found =
      std::ranges::find_if(sockets, [](const auto& socket) { return socket.mark == kMark; });
  ASSERT_NE(found, sockets.end());
  EXPECT_TRUE(diag_->destroy(*found));
  EXPECT_TRUE(diag_->destroy(*found));
}

INSTANTIATE_TEST_SUITE_P(Families, Sockets, ::testing::Values(AF_INET, AF_INET6),
                         [](const auto& family) { return family.param == AF_INET ? "V4" : "V6"; });

}  // namespace
}  // namespace metatap::sys
