// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace metatap::api {

/// Counters for the admin socket and /metrics; all since start, unless said otherwise.
struct ApiStats {
  std::uint64_t requests = 0;
  std::uint64_t ok = 0;           ///< 200
  std::uint64_t bad_request = 0;  ///< 400
  std::uint64_t denied = 0;       ///< 403: wrong signature
  std::uint64_t not_found = 0;    ///< 404: path, instance or tenant
  std::uint64_t conflicts = 0;    ///< 409: a second password
  std::uint64_t errors = 0;       ///< 5xx
  std::uint64_t seeds = 0;        ///< meta_data.json with a fresh random seed
  std::uint64_t passwords = 0;    ///< stored
  std::uint64_t renders = 0;      ///< documents rendered, at start and by changes
  std::uint64_t vendordata_file_errors = 0;
  std::uint64_t vendordata_asked = 0;   ///< requests to dynamic targets
  std::uint64_t vendordata_failed = 0;  ///< of these, without a usable answer
  std::uint64_t vendordata_cached = 0;  ///< answers taken from the cache

  // Now:
  std::uint64_t instances = 0;
  std::uint64_t layouts = 0;              ///< distinct sets of paths
  std::uint64_t shared_strings = 0;       ///< bodies several instances may share
  std::uint64_t render_microseconds = 0;  ///< time that rendering took, since start
};

/// One counter that many threads count on: each has a cache line of its own, more or less.
class Counter {
 public:
  void add(std::uint64_t n = 1) { cells_[slot()].value.fetch_add(n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const {
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
