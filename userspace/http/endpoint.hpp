// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <variant>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

/// A TCP endpoint. To listen: a literal address ("0.0.0.0", "::1"). To connect: also a name.
struct TcpEndpoint {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
};

/// A UNIX stream socket in the file system. The rest matters to a listener only.
struct UnixEndpoint {
  std::string path;
  mode_t mode = 0600;
  std::string user{}, group{};  ///< owner by name or number; empty: ours
  /// Takes the place of whoever listens there. Else that is an error, and only what a process that
  /// died has left is replaced.
  bool replace = false;
};

using Endpoint = std::variant<TcpEndpoint, UnixEndpoint>;

/// For logs: "127.0.0.1:8775", "[::1]:80", "/run/metatap/agent.sock".
[[nodiscard]] std::string to_string(const Endpoint& endpoint);

/// What every TCP listener of ours has; errors do not matter. TCP_NODELAY, which accepted sockets
/// inherit, and TCP_DEFER_ACCEPT: a connection reaches us with its first bytes, so that it is read
/// at once and no poll is set up for it, and one that never says anything costs the kernel a
/// request socket only. (After a second it comes without bytes.)
void tune_listener(int fd);

/// ErrorCode::conflict: another process listens there. (With SO_REUSEPORT, as listen_tcp() has it,
/// the kernel would let us share its connections.)
[[nodiscard]] Status check_unused(const TcpEndpoint& endpoint);

/// Whether this host has the address, whoever listens at the port.
[[nodiscard]] Status check_local(const TcpEndpoint& endpoint);

/// Bound, listening, non-blocking, tuned, SO_REUSEPORT set, so that each worker can have
/// a listener of its own. IPv6 addresses listen for IPv6 only, but "::" takes both.
[[nodiscard]] Result<UniqueFd> listen_tcp(const TcpEndpoint& endpoint, int backlog = 4096);

/// Creates the parent directory (0755) if missing, removes a stale socket file, binds, and gives
/// the file its mode and owner before anybody can connect.
[[nodiscard]] Result<UniqueFd> listen_unix(const UnixEndpoint& endpoint, int backlog = 4096);

/// The port a listener got when it asked for 0.
[[nodiscard]] std::uint16_t bound_port(int fd);

}  // namespace metatap::http
