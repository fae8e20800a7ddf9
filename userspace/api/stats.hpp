// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "metatap/counters.hpp"

namespace metatap::api {

/// What the API did since its start, and what it has now.
struct ApiStats : ApiCounts<>, VendordataCounts<>, ApiState<> {};

/// One counter that many threads count on: each has a cache line of its own, more or less.
class Counter {
 public:
  void add(std::uint64_t n = 1) { cells_[slot()].value.fetch_add(n, std::memory_order_relaxed); }
  operator std::uint64_t() const {
    std::uint64_t total = 0;
    for (const Cell& cell : cells_) {
      total += cell.value.load(std::memory_order_relaxed);
    }
    return total;
  }

 private:
  static constexpr std::size_t kCells = 8;
  struct alignas(64) Cell {
    std::atomic<std::uint64_t> value = 0;
  };
  static std::size_t slot() {
    static std::atomic<std::size_t> next = 0;
    static thread_local const std::size_t mine = next.fetch_add(1) % kCells;
    return mine;
  }
  std::array<Cell, kCells> cells_;
};

}  // namespace metatap::api
