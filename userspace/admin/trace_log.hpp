// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

namespace metatap::admin {

/// What happens, line by line, for whoever looks on (`metatap trace`, `top`). While nobody does,
/// nothing is written: one load for who might have something to say. Who reads too slowly loses the
/// oldest lines, and is told how many; nobody waits for him. Thread-safe.
class TraceLog {
 public:
  using Json = nlohmann::ordered_json;
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] bool wanted() const { return wanted_.load(std::memory_order_relaxed); }
  /// Somebody looks on until then.
  void look_on(Clock::time_point until);
  /// To be called now and then: stops writing once nobody looks on any more.
  void look_away(Clock::time_point now);

  void add(Json line);
  /// So many were never seen here.
  void add_lost(std::uint64_t lines);

  struct Chunk {
    std::uint64_t next = 0;  ///< what to ask for the next time
    std::uint64_t lost = 0;  ///< lines since `after` that are here no more
    Json lines = Json::array();
  };
  /// All lines after that one. Of a number that was never given, from here on.
  [[nodiscard]] Chunk since(std::uint64_t after) const;
  /// The number of the last line.
  [[nodiscard]] std::uint64_t last() const;

  static constexpr std::size_t kMost = 8192;

 private:
  std::atomic<bool> wanted_{false};
  mutable std::mutex mutex_;
  Clock::time_point until_;
  std::uint64_t next_ = 1;  ///< number of the next line; those that were lost have one, too
  std::deque<std::pair<std::uint64_t, Json>> lines_;
};

}  // namespace metatap::admin
