// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

namespace metatap {

/// One value from one thread to another that waits for it, but not for ever.
template <class T>
class Handover {
 public:
  /// The value comes back if nobody waits for it any more.
  [[nodiscard]] std::optional<T> give(T value) {
    const std::lock_guard lock(mutex_);
    if (gone_) {
      return value;
    }
    value_ = std::move(value);
    given_.notify_one();
    return std::nullopt;
  }
  /// Once. nullopt: not in time.
  [[nodiscard]] std::optional<T> take(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    given_.wait_for(lock, patience, [this] { return value_.has_value(); });
    gone_ = true;
    return std::move(value_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_;
  std::optional<T> value_;
  bool gone_ = false;
};

}  // namespace metatap
