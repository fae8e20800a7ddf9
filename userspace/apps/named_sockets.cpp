// SPDX-License-Identifier: Apache-2.0
#include "apps/named_sockets.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace metatap::apps {

NamedSockets::NamedSockets(const Settings& settings) {
  if (!settings.with_ovn()) {
    return;
  }
  for (const auto* database : {&settings.ovn.local, &settings.ovn.southbound}) {
    for (const auto& text : database->remotes) {
      const auto remote = agent::OvsdbRemote::parse(text);
      if (remote && remote->kind == agent::OvsdbRemote::Kind::unix_socket) {
        paths_.insert(remote->host);
      }
    }
  }
}

Result<UniqueFd> NamedSockets::connect(const std::string& path) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!paths_.contains(path) || path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorCode::denied,
                path + " is not named by the configuration that the supervisor was started with");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_errno(errno, "connect to " + path);
  }
  return fd;
}

}  // namespace metatap::apps
