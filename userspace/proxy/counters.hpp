// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "http/count.hpp"
#include "metatap/counters.hpp"

namespace metatap::proxy {

/// What the proxy and its server did, summed over its workers.
struct ProxyCounters : ServerCounts<>, ProxyCounts<> {
  std::map<unsigned, std::uint64_t> responses;  ///< by status
};

/// The proxy's part of one worker, on cache lines of its own; only that worker writes.
struct alignas(64) WorkerCounters : ProxyCounts<http::Count> {
  std::array<http::Count, 600> responses;  // by status
};

}  // namespace metatap::proxy
