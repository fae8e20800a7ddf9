// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace metatap::admin {

/// Whether a stage in another process answers, judged now and then by what was counted meanwhile,
/// so that no request is slower for it. Only requests of guests tell: while there are none, nothing
/// is known that was not known before. Control thread.
class UpstreamHealth {
 public:
  using Time = std::chrono::system_clock::time_point;

  /// All there were until now: with an answer of its own, and without any.
  void look(std::uint64_t answered, std::uint64_t failed, Time now);

  /// When that was seen last; the epoch: never.
  [[nodiscard]] Time answered_at() const { return answered_at_; }
  [[nodiscard]] Time failed_at() const { return failed_at_; }
  /// A sentence if requests had no answer within the last minute, and none had one since; else
  /// empty.
  [[nodiscard]] std::string problem(Time now) const;

 private:
  std::uint64_t answered_ = 0, failed_ = 0;
  std::uint64_t in_a_row_ = 0;  ///< failed since the last answer
  Time answered_at_, failed_at_, failing_since_;
};

}  // namespace metatap::admin
