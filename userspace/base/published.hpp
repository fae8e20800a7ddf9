// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <utility>

namespace metatap {

/// One immutable value, or none, replaced as a whole while others read it. Any thread may do
/// either; a reader holds what it got for as long as it likes.
///
/// std::atomic<std::shared_ptr> is the same with a lock of one bit. GCC 12's lets that lock go
/// without release when it reads, so that on a weakly ordered processor a reader may get one
/// value's pointer with the count of another.
template <class T>
class Published {
 public:
  using Value = std::shared_ptr<const T>;

  Published() = default;
  explicit Published(Value first) : value_(std::move(first)) {}

  [[nodiscard]] Value get() const {
    const Turn turn(busy_);
    return value_;
  }
  void set(Value next) {
    const Turn turn(busy_);
    value_.swap(next);
    // What was there goes with the parameter, when the next reader has its turn already.
  }

 private:
  /// Held for the copy of a pointer. Who finds it taken gives way: its holder may wait for this
  /// very core.
  class Turn {
   public:
    explicit Turn(std::atomic_flag& busy) : busy_(busy) {
      while (busy_.test_and_set(std::memory_order_acquire)) {
        std::this_thread::yield();
      }
    }
    ~Turn() { busy_.clear(std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    std::atomic_flag& busy_;
  };

  mutable std::atomic_flag busy_;
  Value value_;
};

}  // namespace metatap
