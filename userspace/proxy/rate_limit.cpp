// SPDX-License-Identifier: Apache-2.0
#include "proxy/rate_limit.hpp"

namespace metatap::proxy {

void RateEstimate::count(std::int64_t now, std::int64_t period) {
  if (now - start_ >= 2 * period) {
    start_ = now;
    previous_ = current_ = 0;
  } else if (now - start_ >= period) {
    start_ += period;
    previous_ = current_;
    current_ = 0;
  }
  ++current_;
}

std::uint64_t RateEstimate::read(std::int64_t now, std::int64_t period) const {
  auto previous = previous_, current = current_;
  auto elapsed = now - start_;
  if (elapsed >= 2 * period) {
    return 0;
  }
  if (elapsed >= period) {
    previous = current;
    current = 0;
    elapsed -= period;
  }
  if (current == 0 && previous <= 1) {
    return 0;  // a lone request long ago is no rate
  }
  const auto whole = static_cast<std::uint64_t>(period);
  return (previous * static_cast<std::uint64_t>(period - elapsed) + current * whole) / whole;
}

bool RateGauge::allow(const RateLimit& limit, std::int64_t now) {
  const std::lock_guard lock(mutex_);
  base_.count(now, limit.base.window.count());
  burst_.count(now, limit.burst.window.count());
  return base_.read(now, limit.base.window.count()) <= limit.base.requests &&
         burst_.read(now, limit.burst.window.count()) <= limit.burst.requests;
}

RateGauge::Used RateGauge::used(const RateLimit& limit, std::int64_t now) const {
  const std::lock_guard lock(mutex_);
  return {base_.read(now, limit.base.window.count()), burst_.read(now, limit.burst.window.count())};
}

bool RateGauge::spent(const RateLimit& limit, std::int64_t now) const {
  const auto [base, burst] = used(limit, now);
  return base == 0 && burst == 0;
}

}  // namespace metatap::proxy
