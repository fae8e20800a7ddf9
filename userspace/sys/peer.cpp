// SPDX-License-Identifier: Apache-2.0
#include "sys/peer.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/log.hpp"

namespace metatap::sys {

Result<Peer> Peer::of(int socket) {
  ucred who{};
  socklen_t size = sizeof(who);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) {
    return fail_errno(errno, "ask who is at the other end");
  }
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, who.pid, 0)));
  if (!fd) {
    return fail(ErrorCode::unavailable, "process " + std::to_string(who.pid) + " has ended");
  }
  return Peer(who.uid, who.pid, std::move(fd));
}

bool Peer::ended() const {
  pollfd end{fd_.get(), POLLIN, 0};
  return ::poll(&end, 1, 0) > 0;
}

void Peer::kill() const {
  if (::syscall(SYS_pidfd_send_signal, fd_.get(), SIGKILL, nullptr, 0) != 0 && errno != ESRCH) {
    log::warn("kill process {}: errno {}", pid_, errno);
  }
}

}  // namespace metatap::sys
