// SPDX-License-Identifier: Apache-2.0
#include "http/endpoint.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "http/socket_path.hpp"
#include "sys/users.hpp"

namespace metatap::http {
namespace {

Status set_on(int fd, int level, int option, int value, std::string_view step) {
  if (::setsockopt(fd, level, option, &value, sizeof value) != 0) {
    return fail_errno(errno, step);
  }
  return {};
}

}  // namespace

std::string to_string(const Endpoint& endpoint) {
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) {
    return local->path;
  }
  const auto& tcp = std::get<TcpEndpoint>(endpoint);
  const bool bracket = tcp.host.find(':') != std::string::npos;
  return (bracket ? "[" + tcp.host + "]" : tcp.host) + ":" + std::to_string(tcp.port);
}

namespace {

enum class Sharing : bool { no, yes };

Result<UniqueFd> bind_tcp(const TcpEndpoint& endpoint, Sharing sharing) {
  const std::string step = "listen on " + to_string(endpoint);
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  if (::inet_pton(AF_INET, endpoint.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    size = sizeof v4;
  } else if (::inet_pton(AF_INET6, endpoint.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(endpoint.port);
    size = sizeof v6;
  } else {
    return fail(ErrorCode::invalid, step + ": not an IP address");
  }
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return fail_errno(errno, step);
  }
  for (const auto& [option, value] :
       {std::pair(SO_REUSEADDR, 1), std::pair(SO_REUSEPORT, sharing == Sharing::yes ? 1 : 0)}) {
    if (auto set = set_on(fd.get(), SOL_SOCKET, option, value, step); !set) {
      return tl::make_unexpected(std::move(set).error());
    }
  }
  if (storage.ss_family == AF_INET6) {
    const int only = IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) ? 0 : 1;
    if (auto set = set_on(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, only, step); !set) {
      return tl::make_unexpected(std::move(set).error());
    }
  }
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) {
    return fail_errno(errno, step);
  }
  return fd;
}

}  // namespace

Status check_unused(const TcpEndpoint& endpoint) {
  return bind_tcp(endpoint, Sharing::no).map([](const UniqueFd&) {});
}

Status check_local(const TcpEndpoint& endpoint) {
  return bind_tcp({endpoint.host, 0}, Sharing::no).map([](const UniqueFd&) {});
}

Result<UniqueFd> listen_tcp(const TcpEndpoint& endpoint, int backlog) {
  auto fd = bind_tcp(endpoint, Sharing::yes);
  if (!fd) {
    return fd;
  }
  tune_listener(fd->get());
  if (::listen(fd->get(), backlog) != 0) {
    return fail_errno(errno, "listen on " + to_string(endpoint));
  }
  return fd;
}

Status check_directory(const std::string& path) {
  std::error_code error;
  auto there = std::filesystem::absolute(path, error);
  while (!error && !std::filesystem::exists(there, error) && there.has_relative_path()) {
    there = there.parent_path();
  }
  if (!error && !std::filesystem::is_directory(there, error)) {
    return fail_errno(error ? error.value() : ENOTDIR, there.string());
  }
  return error ? fail_errno(error.value(), path) : Status();
}

Status check_socket_path(const std::string& path) {
  const std::string step = "listen on " + path;
  constexpr std::size_t kMost = sizeof sockaddr_un::sun_path - 1;
  if (path.empty() || path.size() > kMost) {
    return fail(ErrorCode::invalid,
                step + ": the path must have 1 to " + std::to_string(kMost) + " bytes");
  }
  const auto parent = std::filesystem::path(path).parent_path();
  if (auto directory = parent.empty() ? Status() : check_directory(parent); !directory) {
    return tl::make_unexpected(std::move(directory.error()).in(step));
  }
  struct stat old{};
  if (::lstat(path.c_str(), &old) == 0 && !S_ISSOCK(old.st_mode)) {
    return fail(ErrorCode::conflict, step + ": something that is not a socket is there");
  }
  return {};
}

Result<UniqueFd> listen_unix(const UnixEndpoint& endpoint, int backlog) {
  const std::string step = "listen on " + endpoint.path;
  if (auto possible = check_socket_path(endpoint.path); !possible) {
    return tl::make_unexpected(std::move(possible.error()));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, endpoint.path.c_str(), endpoint.path.size() + 1);

  std::error_code error;
  const auto parent = std::filesystem::path(endpoint.path).parent_path();
  if (!parent.empty() && !std::filesystem::exists(parent, error)) {
    std::filesystem::create_directories(parent, error);
    if (error) {
      return fail_errno(error.value(), step + ": create " + parent.string());
    }
    ::chmod(parent.c_str(), 0755);
  }
  struct stat old{};
  if (::lstat(endpoint.path.c_str(), &old) == 0) {
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!endpoint.replace && probe &&
        (::connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ||
         errno == EAGAIN)) {  // its backlog is full
      return fail(ErrorCode::conflict, step + ": another process listens there");
    }
    if (::unlink(endpoint.path.c_str()) != 0) {
      return fail_errno(errno, step + ": remove the stale socket");
    }
  }

  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return fail_errno(errno, step);
  }
  // The file takes its mode from the socket's; nobody can connect before listen().
  if (::fchmod(fd.get(), endpoint.mode) != 0 ||
      ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(endpoint.path.c_str(), endpoint.mode) != 0) {
    return fail_errno(errno, step);
  }
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  if (!endpoint.user.empty()) {
    auto found = sys::user_id(endpoint.user);
    if (!found) {
      return tl::make_unexpected(std::move(found).error().in(step));
    }
    uid = *found;
  }
  if (!endpoint.group.empty()) {
    auto found = sys::group_id(endpoint.group);
    if (!found) {
      return tl::make_unexpected(std::move(found).error().in(step));
    }
    gid = *found;
  }
  if ((!endpoint.user.empty() || !endpoint.group.empty()) &&
      ::chown(endpoint.path.c_str(), uid, gid) != 0) {
    return fail_errno(errno, step + ": set its owner");
  }
  if (::listen(fd.get(), backlog) != 0) {
    return fail_errno(errno, step);
  }
  return fd;
}

void tune_listener(int fd) {
  const int on = 1;
  const int seconds = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof seconds);
}

std::uint16_t bound_port(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    return 0;
  }
  return ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(storage).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(storage).sin_port);
}

}  // namespace metatap::http
