// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace metatap {

/// When a host that hears of changes in a shared database reads them. The first after a while is
/// read at once. While more come, the host rests after each reading, the longer the dearer that
/// was, and the next one brings all that was stored meanwhile: else two hundred hosts would each
/// read each commit by itself, and the database would do nothing else.
class ReadingPace {
 public:
  using Clock = std::chrono::steady_clock;

  /// From when on it may be read again.
  [[nodiscard]] Clock::time_point next() const { return next_; }
  /// A reading was asked for: so no other one before it is done, or would be by the last one's
  /// time.
  void asked(Clock::time_point now) { next_ = std::max(next_, now + rest_); }
  /// It was done. A slow database makes everybody slower.
  void done(Clock::time_point begin, Clock::time_point end) {
    rest_ = std::min<Clock::duration>(kRests * (end - begin), kLongestRest);
    next_ = end + rest_;
  }

 private:
  /// Of a host's time a twentieth at most goes into reading.
  static constexpr int kRests = 20;
  /// What a guest may have to wait for, where everything was read.
  static constexpr std::chrono::seconds kLongestRest{1};

  Clock::duration rest_{};
  Clock::time_point next_;
};

}  // namespace metatap
