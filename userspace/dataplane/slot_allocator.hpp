// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::dataplane {

/// Hands out slot numbers: one namespace for tap and router mode, because the number is the tag.
/// A number that was given back rests before it is used again, so that a packet, a socket or a log
/// line that still bears it cannot be taken for its next owner. Control thread only.
class SlotAllocator {
 public:
  using Clock = std::chrono::steady_clock;

  /// Numbers first … size-1; 0 is nobody.
  explicit SlotAllocator(std::uint32_t size, Clock::duration quarantine = std::chrono::seconds(64),
                         std::uint32_t first = 1);

  /// ErrorCode::unavailable when all are taken or resting.
  [[nodiscard]] Result<std::uint32_t> acquire(Clock::time_point now = Clock::now());
  /// Keeps a number back that an earlier process used: until it is adopted or released.
  void reserve(std::uint32_t slot);
  /// Takes a given number, free or reserved. ErrorCode::conflict when it is neither.
  Status adopt(std::uint32_t slot);
  /// Sends a number to rest that is in use or reserved.
  void release(std::uint32_t slot, Clock::time_point now = Clock::now());

  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(taken_.size()); }
  /// How many numbers there are in all, and how many of them could be handed out now, or once those
  /// that rest have rested.
  [[nodiscard]] std::size_t usable() const { return size() > first_ ? size() - first_ : 0; }
  [[nodiscard]] std::size_t available(Clock::time_point now = Clock::now()) const;
  [[nodiscard]] std::size_t coming() const { return fresh_ + resting_.size(); }
  /// So many are kept for ports: a quarter, and the last one.
  [[nodiscard]] std::size_t kept() const { return (usable() + 3) / 4; }
  /// Whether a device without a port may have one.
  [[nodiscard]] bool to_spare(Clock::time_point now = Clock::now()) const {
    return available(now) > kept();
  }
  [[nodiscard]] std::size_t in_use() const { return in_use_; }
  [[nodiscard]] std::size_t resting() const { return resting_.size(); }

 private:
  struct Rest {
    std::uint32_t slot;
    Clock::time_point until;
  };
  void take(std::uint32_t slot);
  std::vector<bool> taken_;  ///< in use, reserved or resting
  std::vector<bool> reserved_;
  const std::uint32_t first_;
  std::uint32_t never_;       ///< numbers from here on were never handed out by acquire()
  std::size_t fresh_;         ///< of these, not taken
  std::deque<Rest> resting_;  ///< oldest first
  Clock::duration quarantine_;
  std::size_t in_use_ = 0;
};

}  // namespace metatap::dataplane
