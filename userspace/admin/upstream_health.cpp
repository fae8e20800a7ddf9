// SPDX-License-Identifier: Apache-2.0
#include "admin/upstream_health.hpp"

#include "base/duration_text.hpp"

namespace metatap::admin {
namespace {

/// Later nobody can say any more whether it still is so.
constexpr std::chrono::minutes kLately{1};

}  // namespace

void UpstreamHealth::look(std::uint64_t answered, std::uint64_t failed, Time now) {
  const bool good = answered > answered_;
  if (good) {
    answered_ = answered;
    answered_at_ = now;
    in_a_row_ = 0;
  }
  if (failed > failed_) {
    failed_at_ = now;
    if (!good) {
      failing_since_ = in_a_row_ == 0 ? now : failing_since_;
      in_a_row_ += failed - failed_;
    }
    failed_ = failed;
  }
}

std::string UpstreamHealth::problem(Time now) const {
  if (in_a_row_ == 0 || now - failed_at_ > kLately) {
    return {};
  }
  return "it has not answered for " + duration_text(seconds_of(now) - seconds_of(failing_since_)) +
         ": " + std::to_string(in_a_row_) + " requests in a row";
}

}  // namespace metatap::admin
