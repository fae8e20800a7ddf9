// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <unordered_map>
#include <vector>

#include "metatap/abi/abi.h"
#include "metatap/address.hpp"

namespace metatap::dataplane {

/// A source that a guest used and that is none of its port's.
struct Sighting {
  std::uint32_t reason = 0;   ///< wrong_mac, spoofed_v4, spoofed_v6
  Address source;             ///< family 0: not known
  MacAddress mac{};           ///< of the frame
  std::uint64_t packets = 0;  ///< of the sample that is told of
  std::chrono::system_clock::time_point first, last;
};

/// Who was refused for what he claimed to be, by the owner of a slot (Origin::owner), so that a
/// number's next owner inherits nothing. The last few of each, and of a bounded number of owners.
/// Values; one thread.
class Sightings {
 public:
  using Clock = std::chrono::system_clock;

  /// Events that are about no source are left aside.
  void note(std::uint64_t owner, const mt_event& event, Clock::time_point now);
  /// The last one first.
  [[nodiscard]] std::vector<Sighting> of(std::uint64_t owner) const;

 private:
  std::unordered_map<std::uint64_t, std::vector<Sighting>> by_owner_;
  std::deque<std::uint64_t> owners_;  ///< in the order in which they came
};

}  // namespace metatap::dataplane
