// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace metatap {

/// As a person says it: "3 s", "5 min", "2 h 10 min", "4 d 1 h". A negative one is none.
[[nodiscard]] std::string duration_text(std::int64_t seconds);

/// A moment as our JSON has it: seconds since 1970. The epoch, 0, is never.
[[nodiscard]] inline std::int64_t seconds_of(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}
[[nodiscard]] inline std::int64_t seconds_now() {
  return seconds_of(std::chrono::system_clock::now());
}

}  // namespace metatap
