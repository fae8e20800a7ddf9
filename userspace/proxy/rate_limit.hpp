// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

namespace metatap::proxy {

/// Neutron's [metadata_rate_limiting]: so many requests a window, in two windows at once. Off by
/// default. Counted per port, IPv4 and IPv6 together.
struct RateLimit {
  struct Rule {
    std::chrono::milliseconds window{10'000};
    std::uint32_t requests = 10;
  };
  bool enabled = false;
  Rule base, burst;
};

/// A request rate over a sliding period, estimated from two counters as haproxy's stick tables do
/// it: floor((previous * (period - elapsed) + current * period) / period).
class RateEstimate {
 public:
  /// Counts one request at `now` (milliseconds, never going back).
  void count(std::int64_t now, std::int64_t period);
  [[nodiscard]] std::uint64_t read(std::int64_t now, std::int64_t period) const;

 private:
  std::int64_t start_ = INT64_MIN / 2;
  std::uint64_t current_ = 0, previous_ = 0;
};

/// One port's rate. A request counts before it is judged, so one that is refused counts too.
/// Thread-safe.
class RateGauge {
 public:
  [[nodiscard]] bool allow(const RateLimit& limit, std::int64_t now);
  struct Used {
    std::uint64_t base = 0, burst = 0;  ///< requests in the window that ends now
  };
  [[nodiscard]] Used used(const RateLimit& limit, std::int64_t now) const;
  /// Nothing to remember any more.
  [[nodiscard]] bool spent(const RateLimit& limit, std::int64_t now) const;

 private:
  mutable std::mutex mutex_;
  RateEstimate base_, burst_;
};

}  // namespace metatap::proxy
