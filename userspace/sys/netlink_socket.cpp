// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_socket.hpp"

#include <libmnl/libmnl.h>
#include <sys/socket.h>

#include <cerrno>
#include <span>
#include <string>
#include <vector>

namespace metatap::sys {
void NetlinkSocket::Close::operator()(mnl_socket* socket) const {
  mnl_socket_close(socket);
}

NetlinkSocket::NetlinkSocket(mnl_socket* socket)
    : socket_(socket), port_(mnl_socket_get_portid(socket)) {}

Result<NetlinkSocket> NetlinkSocket::open(int protocol, std::string_view what) {
  std::unique_ptr<mnl_socket, Close> socket(mnl_socket_open2(protocol, SOCK_CLOEXEC));
  if (!socket) {
    return fail_errno(errno, "open " + std::string(what));
  }
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return fail_errno(errno, "bind " + std::string(what));
  }
  return NetlinkSocket(socket.release());
}

void NetlinkSocket::enable(int option) {
  int on = 1;
  mnl_socket_setsockopt(socket_.get(), option, &on, sizeof(on));
}

Status NetlinkSocket::dump(nlmsghdr* message, std::string_view step,
                           const std::function<void(const nlmsghdr*)>& each) {
  message->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_.get(), message, message->nlmsg_len) < 0) {
    return fail_errno(errno, step);
  }
  std::vector<char> buffer(kNetlinkBuffer);
  struct Context {
    const std::function<void(const nlmsghdr*)>& each;
  } context{each};
  const auto on_message = [](const nlmsghdr* received, void* data) -> int {
    static_cast<Context*>(data)->each(received);
    return MNL_CB_OK;
  };
  for (;;) {
    const auto size = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (size < 0) {
      if (errno == EINTR) {
        continue;
      }
      return fail_errno(errno, step);
    }
    const int more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), sequence_, port_,
                                on_message, &context);
    if (more < 0) {
      const int error = errno;
      discard(buffer);
      return fail_errno(error, step);
    }
    if (more == MNL_CB_STOP) {
      return {};
    }
  }
}

/// The rest of an answer that broke off, as one does that a change has interrupted: the next
/// question would take it for its own answer, and leave that one to the question after it.
void NetlinkSocket::discard(std::span<char> buffer) {
  ssize_t size = 0;
  do {
    size = ::recv(mnl_socket_get_fd(socket_.get()), buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (size > 0 || (size < 0 && errno == EINTR));
}

Status NetlinkSocket::transact(nlmsghdr* message, std::string_view step) {
  message->nlmsg_flags |= NLM_F_ACK;
  return dump(message, step, [](const nlmsghdr*) {});
}

}  // namespace metatap::sys
