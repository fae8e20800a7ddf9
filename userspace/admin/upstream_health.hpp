// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "metatap/counters.hpp"

namespace metatap::admin {

/// Whether a stage in another process answers. What an answer is, is decided here alone: whatever
/// the stage says itself, an error too, and not what the way to it says in its place. Judged now
/// and then by what was counted of guests' requests meanwhile, so that none is slower for it, and
/// by what an operator asks in between: while nobody asks, nothing is known that was not known
/// before. Control thread.
class UpstreamHealth {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// Requests that it did not answer.
  [[nodiscard]] static std::uint64_t failures_of(const UpstreamCounts<>& counts) {
    return counts.unavailable + counts.timeouts + counts.invalid;
  }

  /// All there were until now: responses of either kind, and what was counted of them.
  void look(std::uint64_t responses, const UpstreamCounts<>& counts, Time now);
  /// A question that is not among these, by a way of its own, of which that was counted.
  void asked(const UpstreamCounts<>& counts, Time now);

  /// When that was seen last; the epoch: never.
  [[nodiscard]] Time answered_at() const { return answered_at_; }
  [[nodiscard]] Time failed_at() const { return failed_at_; }
  /// A sentence if requests had no answer within the last minute, and none had one since; else
  /// empty.
  [[nodiscard]] std::string problem(Time now) const;

 private:
  void answered(Time now);
  void failed(std::uint64_t requests, Time now);

  std::uint64_t answered_ = 0, failed_ = 0;
  std::uint64_t in_a_row_ = 0;  ///< failed since the last answer
  Time answered_at_, failed_at_, failing_since_;
};

}  // namespace metatap::admin
