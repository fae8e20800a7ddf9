// SPDX-License-Identifier: Apache-2.0
#include "channel/door.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace metatap::channel {
namespace {

constexpr auto kName = "worker.sock";
constexpr auto kNameBefore = "worker.sock.new";

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto text = path.string();
  if (text.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::invalid, text + " is too long for a socket");
  }
  std::memcpy(address.sun_path, text.data(), text.size());
  return address;
}

UniqueFd packet_socket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

}  // namespace

Result<Door> Door::make(std::filesystem::path folder) {
  const auto path = folder / kNameBefore;
  const auto address = address_of(path);
  if (!address) {
    return tl::make_unexpected(address.error());
  }
  auto fd = packet_socket();
  ::unlink(path.c_str());
  if (!fd ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0) {
    return fail_errno(errno, "make " + path.string());
  }
  return Door(std::move(fd), std::move(folder));
}

Status Door::open() const {
  const auto before = folder_ / kNameBefore, now = folder_ / kName;
  if (std::rename(before.c_str(), now.c_str()) != 0) {
    return fail_errno(errno, "make " + now.string());
  }
  return {};
}

Result<Socket> Door::knock(const std::filesystem::path& folder) {
  const auto path = folder / kName;
  const auto address = address_of(path);
  if (!address) {
    return tl::make_unexpected(address.error());
  }
  auto fd = packet_socket();
  if (!fd ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0) {
    const auto code =
        errno == ENOENT || errno == ECONNREFUSED ? ErrorCode::not_found : ErrorCode::unavailable;
    return fail(code, "nobody is at " + path.string() + ": " + std::strerror(errno));
  }
  return Socket(std::move(fd));
}

std::optional<Socket> Door::admit(int door) {
  UniqueFd fd(::accept4(door, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  return fd ? std::optional<Socket>(std::move(fd)) : std::nullopt;
}

}  // namespace metatap::channel
