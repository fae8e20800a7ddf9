// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "metatap/result.hpp"
#include "sys/netlink.hpp"
#include "sys/netlink_socket.hpp"

namespace metatap::sys {

/// A TCP socket as the kernel lists it: open, half open, closing, or only remembered (TIME_WAIT).
struct TcpSocket {
  std::uint8_t state = 0;  ///< TCP_ESTABLISHED … of netinet/tcp.h; a half-open one is SYN_RECV
  Address local, peer;
  std::uint16_t local_port = 0, peer_port = 0;
  unsigned ifindex = 0;  ///< the device it is bound to; 0: none
  /// SO_MARK. Kernels before 6.2 do not tell it of a socket in TIME_WAIT.
  std::optional<std::uint32_t> mark;
  std::uint64_t cookie = 0;  ///< names this very socket, whoever has its addresses later

  [[nodiscard]] bool listening() const;
  /// Has nothing to send any more, and is no process' own: TIME_WAIT, or FIN_WAIT2 without a
  /// process, which the kernel lists under that name.
  [[nodiscard]] bool only_remembered() const;
};

/// `ss` and `ss -K` for one namespace, that of the thread that opened it; the socket keeps that
/// namespace alive. Needs CAP_NET_ADMIN for marks and for ending sockets. A list is a walk over the
/// whole host's table of connections, some milliseconds: ask once for many. One thread at a time.
class SockDiag {
 public:
  static Result<SockDiag> open();

  /// All TCP sockets, v4 and v6; with `local` only those bound to one of these addresses, which
  /// the kernel picks out.
  [[nodiscard]] Result<std::vector<TcpSocket>> tcp_sockets(std::vector<Address> local = {});

  /// Only those that listen. Connections are not walked over.
  [[nodiscard]] Result<std::vector<TcpSocket>> listeners();

  /// Would a connection to that address, by that device, come to a listener? One look-up.
  [[nodiscard]] Result<bool> listens(const Address& local, std::uint16_t port,
                                     unsigned ifindex = 0);

  /// SOCK_DESTROY: whoever has it reads ECONNABORTED, the other side gets a reset. Gone already is
  /// success. A socket that no process has (an orphan) goes as well; before 6.11 (and the stable
  /// kernels of then) the kernel only throws away what it still had to send, which leaves it in
  /// the table until it times out, with nothing to say.
  /// ErrorCode::unsupported: built without CONFIG_INET_DIAG_DESTROY, or, before 6.0, TIME_WAIT.
  Status destroy(const TcpSocket& socket);

  struct Swept {
    std::size_t destroyed = 0;
    std::size_t left = 0;  ///< those that could not be destroyed and may still send
  };
  /// Destroys what `condemned` says, again and again until a list shows no other. A listening
  /// socket is never destroyed. ErrorCode::unsupported: this kernel cannot.
  Result<Swept> sweep(const std::function<bool(const TcpSocket&)>& condemned,
                      const std::vector<Address>& local = {});

 private:
  explicit SockDiag(NetlinkSocket socket) : socket_(std::move(socket)) {}
  enum class Which : bool { all, listening };
  Status list(int family, const Address* local, std::vector<TcpSocket>& found,
              Which which = Which::all);
  [[nodiscard]] Status can_destroy();

  NetlinkSocket socket_;
};

}  // namespace metatap::sys
