// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "metatap/result.hpp"

struct mnl_socket;
struct nlmsghdr;

namespace metatap::sys {

/// What the kernel puts into one datagram at most: a dump comes in parts.
inline constexpr std::size_t kNetlinkBuffer = 32 * 1024;

/// A netlink socket of any protocol that asks and waits for the kernel's answer. It stays in the
/// namespace of the thread that opened it. Move only; one thread at a time.
class NetlinkSocket {
 public:
  /// `protocol`: NETLINK_ROUTE, NETLINK_SOCK_DIAG; `what` names it in errors.
  static Result<NetlinkSocket> open(int protocol, std::string_view what);

  /// Sends a request and hands each message of the answer to `each`.
  Status dump(nlmsghdr* message, std::string_view step,
              const std::function<void(const nlmsghdr*)>& each);
  /// Sends a request and waits for its acknowledgement.
  Status transact(nlmsghdr* message, std::string_view step);
  /// A switch of SOL_NETLINK, where the kernel has it.
  void enable(int option);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit NetlinkSocket(mnl_socket* socket);
  void discard(std::span<char> buffer);

  std::unique_ptr<mnl_socket, Close> socket_;
  unsigned port_ = 0;
  std::uint32_t sequence_ = 0;
};

}  // namespace metatap::sys
