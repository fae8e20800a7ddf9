// SPDX-License-Identifier: Apache-2.0
#include "dataplane/inherited_listeners.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dataplane/place_settings.hpp"
#include "metatap/abi/abi.h"

namespace metatap::dataplane {
namespace {

/// Bound to the loopback in a namespace of this test's own, where any port is free.
class InheritedListenersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Root remains who it is, for the tests after this one.
    if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      GTEST_SKIP() << "no network namespace may be made here";
    }
    cookie_ = namespace_cookie().value();
  }
  static UniqueFd socket(std::uint16_t port = MT_METADATA_PORT, bool listening = true) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_port = htons(port);
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
    if (listening) {
      EXPECT_EQ(::listen(fd.get(), 1), 0);
    }
    return fd;
  }
  static bool listens(int fd) {
    int on = 0;
    socklen_t size = sizeof(on);
    return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) == 0 && on == 1;
  }

  std::uint64_t cookie_ = 0;
  const Address here_ = *Address::parse("127.0.0.1");
  InheritedListeners listeners_;
};

TEST_F(InheritedListenersTest, GivesWhatListensThereAndEachOnce) {
  listeners_.add(socket());
  listeners_.add(socket());
  EXPECT_EQ(listeners_.size(), 2U);
  EXPECT_TRUE(listeners_.any_in(cookie_));
  EXPECT_FALSE(listeners_.take(cookie_ + 1, here_)) << "another namespace";
  EXPECT_FALSE(listeners_.take(cookie_, *Address::parse("127.0.0.2")));
  EXPECT_FALSE(listeners_.take(cookie_, here_, 7)) << "bound to a device";
  EXPECT_TRUE(listens(listeners_.take(cookie_, here_).get()));
  EXPECT_TRUE(listens(listeners_.take(cookie_, here_).get()));
  EXPECT_FALSE(listeners_.take(cookie_, here_));
  EXPECT_TRUE(listeners_.empty());
}

TEST_F(InheritedListenersTest, TwoDescriptorsOfOneSocketAreOne) {
  auto one = socket();
  listeners_.add(UniqueFd(::dup(one.get())));
  listeners_.add(std::move(one));
  EXPECT_EQ(listeners_.size(), 1U);
}

TEST_F(InheritedListenersTest, WhatIsNoListenerOfOursIsNotKept) {
  listeners_.add(socket(MT_METADATA_PORT + 1));
  listeners_.add(socket(MT_METADATA_PORT, false));
  listeners_.add(UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0)));
  listeners_.add(UniqueFd(::dup(STDERR_FILENO)));
  listeners_.add(UniqueFd());
  EXPECT_TRUE(listeners_.empty());
}

TEST_F(InheritedListenersTest, WhatNobodyTookListensNoMoreWhoeverHoldsIt) {
  auto one = socket();
  const UniqueFd other_holder(::dup(one.get()));
  listeners_.add(std::move(one));
  listeners_.end_in(cookie_ + 1);
  EXPECT_TRUE(listens(other_holder.get()));
  listeners_.end_all();
  EXPECT_FALSE(listens(other_holder.get()));
  EXPECT_TRUE(listeners_.empty());
}

}  // namespace
}  // namespace metatap::dataplane
