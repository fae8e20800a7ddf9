// SPDX-License-Identifier: Apache-2.0
#include "admin/upstream_health.hpp"

#include <algorithm>

#include "base/duration_text.hpp"

namespace metatap::admin {
namespace {

/// Later nobody can say any more whether it still is so.
constexpr std::chrono::minutes kLately{1};

}  // namespace

void UpstreamHealth::look(std::uint64_t responses, const UpstreamCounts<>& counts, Time now) {
  const auto failures = failures_of(counts);
  // A failure may be counted before its response is.
  const auto answers = responses - std::min(failures, responses);
  const bool good = answers > answered_;
  if (good) {
    answered_ = answers;
    answered(now);
  }
  if (failures > failed_) {
    // Of some that were answered and some that were not, nobody knows which came last.
    failed(good ? 0 : failures - failed_, now);
    failed_ = failures;
  }
}

void UpstreamHealth::asked(const UpstreamCounts<>& counts, Time now) {
  if (const auto failures = failures_of(counts); failures != 0) {
    failed(failures, now);
  } else {
    answered(now);
  }
}

void UpstreamHealth::answered(Time now) {
  answered_at_ = now;
  in_a_row_ = 0;
}

void UpstreamHealth::failed(std::uint64_t requests, Time now) {
  failed_at_ = now;
  failing_since_ = in_a_row_ == 0 ? now : failing_since_;
  in_a_row_ += requests;
}

std::string UpstreamHealth::problem(Time now) const {
  if (in_a_row_ == 0 || now - failed_at_ > kLately) {
    return {};
  }
  return "it has not answered for " + duration_text(seconds_of(now) - seconds_of(failing_since_)) +
         ": " + std::to_string(in_a_row_) + (in_a_row_ == 1 ? " request" : " requests in a row");
}

}  // namespace metatap::admin
