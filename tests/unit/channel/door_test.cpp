// SPDX-License-Identifier: Apache-2.0
#include "channel/door.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "sys/peer.hpp"

namespace metatap::channel {
namespace {

class DoorTest : public ::testing::Test {
 protected:
  DoorTest() { std::filesystem::create_directory(folder_); }
  ~DoorTest() override { std::filesystem::remove_all(folder_); }
  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("metatap-door-" + std::to_string(::getpid()));
};

TEST_F(DoorTest, IsFoundOnceItIsOpenAndSomebodyListens) {
  EXPECT_EQ(Door::knock(folder_).error().code, ErrorCode::not_found);
  const auto door = Door::make(folder_).value();
  ASSERT_EQ(::listen(door.fd(), 1), 0);
  EXPECT_EQ(Door::knock(folder_).error().code, ErrorCode::not_found) << "not open yet";
  ASSERT_TRUE(door.open());
  const auto outside = Door::knock(folder_).value();
  auto inside = Door::admit(door.fd());
  ASSERT_TRUE(inside);
  ASSERT_TRUE(inside->send(7, "hello").value());
  EXPECT_EQ(outside.receive().value()->body, "hello");
  EXPECT_FALSE(Door::admit(door.fd())) << "nobody else";
}

TEST_F(DoorTest, NobodyBehindItIsNobody) {
  {
    const auto door = Door::make(folder_).value();
    ASSERT_TRUE(door.open());
    EXPECT_EQ(Door::knock(folder_).error().code, ErrorCode::not_found) << "nobody listens";
  }
  EXPECT_EQ(Door::knock(folder_).error().code, ErrorCode::not_found);
}

TEST_F(DoorTest, ThatOfTheNextWorkerTakesItsPlace) {
  const auto first = Door::make(folder_).value();
  ASSERT_EQ(::listen(first.fd(), 1), 0);
  ASSERT_TRUE(first.open());
  const auto second = Door::make(folder_).value();
  ASSERT_EQ(::listen(second.fd(), 1), 0);
  ASSERT_TRUE(Door::knock(folder_));
  EXPECT_TRUE(Door::admit(first.fd())) << "as long as the second is not open";
  ASSERT_TRUE(second.open());
  ASSERT_TRUE(Door::knock(folder_));
  EXPECT_TRUE(Door::admit(second.fd()));
  EXPECT_FALSE(Door::admit(first.fd()));
}

TEST_F(DoorTest, TheKernelSaysWhoListens) {
  const auto door = Door::make(folder_).value();
  ASSERT_TRUE(door.open());
  const pid_t child = ::fork();
  if (child == 0) {
    ::listen(door.fd(), 1);
    ::pause();
    ::_exit(0);
  }
  auto outside = Door::knock(folder_);
  for (int i = 0; i < 1000 && !outside; ++i) {
    ::usleep(1000);
    outside = Door::knock(folder_);
  }
  ASSERT_TRUE(outside) << outside.error().message;
  const auto peer = sys::Peer::of(outside->fd()).value();
  EXPECT_EQ(peer.pid(), child) << "not who made it";
  EXPECT_EQ(peer.uid(), ::getuid());
  EXPECT_FALSE(peer.ended());
  peer.kill();
  for (int i = 0; i < 1000 && !peer.ended(); ++i) {
    ::usleep(1000);
  }
  EXPECT_TRUE(peer.ended());
}

TEST_F(DoorTest, APathThatIsTooLongIsASentence) {
  const auto door = Door::make("/" + std::string(200, 'x'));
  ASSERT_FALSE(door);
  EXPECT_EQ(door.error().code, ErrorCode::invalid);
}

}  // namespace
}  // namespace metatap::channel
