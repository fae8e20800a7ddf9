// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>
#include <vector>

namespace metatap::ledger {

/// A bounded queue between two threads, neither of which ever waits for the other: one puts in, one
/// takes out.
template <class T>
class Inbox {
 public:
  explicit Inbox(std::size_t room) : places_(room + 1) {}  // one stays empty

  /// False: there is no room, and it is counted as lost.
  bool put(T&& item) {
    const auto at = put_.load(std::memory_order_relaxed);
    const auto next = after(at);
    if (next == taken_.load(std::memory_order_acquire)) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    places_[at] = std::move(item);
    put_.store(next, std::memory_order_release);
    return true;
  }
  /// All that is there, one after the other.
  void take(auto&& use) {
    auto at = taken_.load(std::memory_order_relaxed);
    const auto end = put_.load(std::memory_order_acquire);
    for (; at != end; at = after(at)) {
      use(std::exchange(places_[at], T()));
      taken_.store(after(at), std::memory_order_release);
    }
  }
  /// How many found no room since this was last asked.
  [[nodiscard]] std::size_t take_lost() { return lost_.exchange(0, std::memory_order_relaxed); }
  /// Any thread.
  [[nodiscard]] std::size_t waiting() const {
    const auto put = put_.load(std::memory_order_relaxed);
    const auto taken = taken_.load(std::memory_order_relaxed);
    return put >= taken ? put - taken : put + places_.size() - taken;
  }

 private:
  [[nodiscard]] std::size_t after(std::size_t at) const {
    return at + 1 == places_.size() ? 0 : at + 1;
  }

  std::vector<T> places_;
  alignas(64) std::atomic<std::size_t> put_{0};  // each on a cache line of its own
  std::atomic<std::size_t> lost_{0};
  alignas(64) std::atomic<std::size_t> taken_{0};
};

}  // namespace metatap::ledger
