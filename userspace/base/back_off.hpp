// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace metatap {

/// When to leave somebody alone: after a few failures in a row, for pauses that double. After each
/// pause one may try again. Not thread-safe.
class BackOff {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kPatience = 3;
  static constexpr std::chrono::seconds kFirst{1}, kLongest{30};

  [[nodiscard]] bool resting(Clock::time_point now) const {
    return failures_ >= kPatience && now < until_;
  }
  /// Whether the caller may try; others wait for another pause then.
  [[nodiscard]] bool may_try(Clock::time_point now) {
    if (resting(now)) {
      return false;
    }
    if (failures_ >= kPatience) {
      until_ = now + pause_;
    }
    return true;
  }
  void failed(Clock::time_point now) {
    if (failures_ < kPatience) {
      ++failures_;
      pause_ = kFirst;
    } else {
      pause_ = std::min<Clock::duration>(2 * pause_, kLongest);
    }
    until_ = now + pause_;
  }
  void succeeded() { failures_ = 0; }

 private:
  int failures_ = 0;
  Clock::duration pause_ = kFirst;
  Clock::time_point until_;
};

}  // namespace metatap
