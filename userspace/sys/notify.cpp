// SPDX-License-Identifier: Apache-2.0
#include "sys/notify.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <array>
#include <charconv>
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
bool notify(const std::string& text, std::chrono::milliseconds patience = 0ms, int passed = -1) {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t size = path != nullptr ? std::strlen(path) : 0;
  if (size < 2 || size >= sizeof address.sun_path || (*path != '/' && *path != '@')) {
    return false;
  }
  std::memcpy(address.sun_path, path, size);
  if (*path == '@') {
    address.sun_path[0] = '\0';  // an abstract name
  }
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return false;
  }
  if (patience > 0ms) {
    pollfd room{fd.get(), POLLOUT, 0};
    ::poll(&room, 1, static_cast<int>(patience.count()));
  }
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (passed >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &passed, sizeof(int));
  }
  return ::sendmsg(fd.get(), &message, MSG_NOSIGNAL) >= 0;
}

/// A manager that is alive reads within that time; one that is not does not hold us up for long.
constexpr auto kStorePatience = 100ms;

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

std::size_t descriptor_store() {
  const char* const text = std::getenv("FDSTORE");
  std::size_t most = 0;
  if (text != nullptr && std::getenv("NOTIFY_SOCKET") != nullptr) {
    std::from_chars(text, text + std::strlen(text), most);
  }
  return most;
}

bool store_descriptor(std::string_view name, int fd) {
  return notify("FDSTORE=1\nFDNAME=" + std::string(name), kStorePatience, fd);
}

void drop_stored_descriptor(std::string_view name) {
  notify("FDSTOREREMOVE=1\nFDNAME=" + std::string(name), kStorePatience);
}

std::vector<UniqueFd> stored_descriptors() {
  std::vector<UniqueFd> all;
  const int count = ::sd_listen_fds(1);
  for (int i = 0; i < count; ++i) {
    all.emplace_back(SD_LISTEN_FDS_START + i);
  }
  return all;
}

}  // namespace metatap::sys
