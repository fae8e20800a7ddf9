// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace metatap::http {

/// A counter with one writing thread and any number of readers: an increment is a plain add.
class Count {
 public:
  Count& operator+=(std::uint64_t more) {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
    return *this;
  }
  Count& operator-=(std::uint64_t less) {
    value_.store(value_.load(std::memory_order_relaxed) - less, std::memory_order_relaxed);
    return *this;
  }
  Count& operator++() { return *this += 1; }
  Count& operator--() { return *this -= 1; }
  operator std::uint64_t() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace metatap::http
