// SPDX-License-Identifier: Apache-2.0
#include "sys/notify.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "metatap/unique_fd.hpp"

namespace metatap::sys {
namespace {

using namespace std::chrono_literals;

/// As sd_notify(), which waits as long as the manager does not read: a watchdog that is to tell
/// whether we hang must not hang with the manager.
void notify(const std::string& text, std::chrono::milliseconds patience = 0ms) {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = path != nullptr ? std::strlen(path) : 0;
  if (size < 2 || size >= sizeof address.sun_path || (*path != '/' && *path != '@')) {
    return;
  }
  std::memcpy(address.sun_path, path, size);
  if (*path == '@') {
    address.sun_path[0] = '\0';  // an abstract name
  }
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return;
  }
  if (patience > 0ms) {
    pollfd room{fd.get(), POLLOUT, 0};
    ::poll(&room, 1, static_cast<int>(patience.count()));
  }
  ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace

void notify_ready(std::string_view status) {
  notify("READY=1\nSTATUS=" + std::string(status), 5s);
}

void notify_status(std::string_view status) {
  notify("STATUS=" + std::string(status));
}

void notify_stopping() {
  notify("STOPPING=1");
}

void notify_watchdog() {
  notify("WATCHDOG=1");
}

std::optional<std::chrono::microseconds> watchdog_interval() {
  std::uint64_t microseconds = 0;
  if (::sd_watchdog_enabled(0, &microseconds) <= 0) {
    return std::nullopt;
  }
  return std::chrono::microseconds(microseconds);
}

}  // namespace metatap::sys
