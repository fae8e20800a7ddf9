// SPDX-License-Identifier: Apache-2.0
#include "sys/notify.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>

#include "metatap/unique_fd.hpp"

namespace metatap::sys {
namespace {

/// A manager's socket, by an abstract name.
class Manager {
 public:
  Manager() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto name = "metatap-notify-" + std::to_string(::getpid());
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const auto length = offsetof(sockaddr_un, sun_path) + 1 + name.size();
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address),
                     static_cast<socklen_t>(length)),
              0);
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  }
  ~Manager() { ::unsetenv("NOTIFY_SOCKET"); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  /// One message; empty: there is none.
  std::string read() {
    std::array<char, 256> text{};
    const auto size = ::recv(socket_.get(), text.data(), text.size(), 0);
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }

 private:
  UniqueFd socket_;
};

TEST(Notify, TellsTheManager) {
  Manager manager;
  notify_ready("serving");
  notify_watchdog();
  EXPECT_EQ(manager.read(), "READY=1\nSTATUS=serving");
  EXPECT_EQ(manager.read(), "WATCHDOG=1");
}

TEST(Notify, DoesNotWaitForAManagerThatDoesNotRead) {
  Manager manager;
  for (int i = 0; i < 1000; ++i) {
    notify_watchdog();
  }
  EXPECT_EQ(manager.read(), "WATCHDOG=1");
}

}  // namespace
}  // namespace metatap::sys
