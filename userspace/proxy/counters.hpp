// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "http/count.hpp"

namespace metatap::proxy {

/// What the proxy did, summed over its workers; for the admin socket and /metrics.
struct ProxyCounters {
  std::uint64_t connections = 0;                ///< accepted and let in
  std::uint64_t open = 0;                       ///< open now
  std::uint64_t unidentified = 0;               ///< reset: no valid tag
  std::uint64_t over_port_cap = 0;              ///< answered 503 or reset: too many of one port
  std::uint64_t over_network_cap = 0;           ///< answered 503 or reset: too many of one network
  std::uint64_t revoked = 0;                    ///< reset: the port behind the connection went away
  std::uint64_t in_flight = 0;                  ///< requests waiting for the next stage now
  std::uint64_t rate_limited = 0;               ///< answered 429
  std::uint64_t upstream_errors = 0;            ///< 502, 503 or 504 from the next stage
  std::uint64_t malformed = 0;                  ///< requests refused before anybody read them
  std::uint64_t expired = 0;                    ///< connections ended by a deadline
  std::uint64_t accept_failures = 0;            ///< no descriptors or memory for a connection
  std::map<unsigned, std::uint64_t> responses;  ///< by status
};

/// The same of one worker, on cache lines of its own; only that worker writes.
struct alignas(64) WorkerCounters {
  http::Count connections, unidentified, over_port_cap, over_network_cap, revoked, in_flight,
      rate_limited, upstream_errors;
  std::array<http::Count, 600> responses;  // by status
};

}  // namespace metatap::proxy
