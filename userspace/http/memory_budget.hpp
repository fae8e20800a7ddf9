// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "metatap/counters.hpp"

namespace metatap::http {

/// What all peers together may make the process hold: bytes of requests and of answers, from when
/// they arrive until they are passed on. Thread-safe.
class MemoryBudget {
 public:
  explicit MemoryBudget(std::size_t limit) : limit_(limit) {}

  [[nodiscard]] std::size_t limit() const { return limit_; }
  [[nodiscard]] std::size_t used() const { return counts_.memory.load(std::memory_order_relaxed); }
  [[nodiscard]] MemoryCounts<> counts() const {
    MemoryCounts<> now;
    now += counts_;
    return now;
  }

 private:
  friend class MemoryShare;
  bool take(std::size_t bytes) {
    if (counts_.memory.fetch_add(bytes, std::memory_order_relaxed) + bytes <= limit_) {
      return true;
    }
    give_back(bytes);
    counts_.memory_refused.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  void give_back(std::size_t bytes) { counts_.memory.fetch_sub(bytes, std::memory_order_relaxed); }

  const std::size_t limit_;
  MemoryCounts<std::atomic<std::uint64_t>> counts_;
};

/// What one buffer has of the budget. Up to kFree it has nothing of it: such buffers are as many as
/// there are connections and requests, which are counted, and ordinary requests touch nothing that
/// the workers share.
class MemoryShare {
 public:
  static constexpr std::size_t kFree = std::size_t{16} << 10U;

  /// Without a budget nothing is refused.
  explicit MemoryShare(std::shared_ptr<MemoryBudget> budget = nullptr)
      : budget_(std::move(budget)) {}
  MemoryShare(MemoryShare&& other) noexcept
      : budget_(std::move(other.budget_)), counted_(std::exchange(other.counted_, 0)) {}
  MemoryShare& operator=(MemoryShare&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(counted_, other.counted_);
    return *this;
  }
  ~MemoryShare() { static_cast<void>(resize(0)); }

  /// Before a buffer grows to so many bytes, or after it shrank to them. False: there is not so
  /// much left, and nothing has changed.
  [[nodiscard]] bool resize(std::size_t bytes) {
    const std::size_t wanted = bytes > kFree ? bytes : 0;
    if (!budget_ || wanted == counted_) {
      return true;
    }
    if (wanted < counted_) {
      budget_->give_back(counted_ - wanted);
    } else if (!budget_->take(wanted - counted_)) {
      return false;
    }
    counted_ = wanted;
    return true;
  }
  [[nodiscard]] std::size_t counted() const { return counted_; }
  [[nodiscard]] const std::shared_ptr<MemoryBudget>& budget() const { return budget_; }

 private:
  std::shared_ptr<MemoryBudget> budget_;
  std::size_t counted_ = 0;
};

}  // namespace metatap::http
