// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>

namespace metatap::http {

/// What a server does for its clients: for one of them in bytes and time, beyond which a request is
/// answered with the status named here and the connection is closed, and for all together.
struct Limits {
  std::size_t head = 8192;                        ///< request line and header fields → 431
  std::size_t target = 2048;                      ///< request target → 414
  std::size_t body = 8192;                        ///< decoded body → 413
  std::size_t headers = 100;                      ///< header fields → 431
  std::chrono::milliseconds head_within{30'000};  ///< first byte to end of head → 408
  std::chrono::milliseconds request{30'000};      ///< first byte to end of body → 408
  std::chrono::milliseconds idle{30'000};         ///< between requests → closed
  std::chrono::milliseconds write{32'000};        ///< the client takes no byte of an answer → reset
  /// Of the server; the next ones wait in the backlog. 0: as many as the process may have.
  std::size_t connections = 0;
  /// Serves whoever operates this host: also when the process has no more descriptors, and without
  /// regard to what others hold.
  bool for_operator = false;
};

/// Of a stage that another one stands in front of, which has limits of its own for guests: whatever
/// that one lets pass, be it Neutron's (haproxy takes a head of 16 KB).
inline Limits limits_between_stages() {
  Limits limits;
  limits.head = std::size_t{32} << 10U;
  limits.target = std::size_t{16} << 10U;
  limits.body = std::size_t{64} << 10U;
  return limits;
}

}  // namespace metatap::http
