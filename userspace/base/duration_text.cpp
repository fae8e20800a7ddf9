// SPDX-License-Identifier: Apache-2.0
#include "base/duration_text.hpp"

#include <algorithm>

namespace metatap {

std::string duration_text(std::int64_t seconds) {
  const auto both = [](std::int64_t big, const char* unit, std::int64_t small, const char* rest) {
    return std::to_string(big) + unit + (small == 0 ? "" : " " + std::to_string(small) + rest);
  };
  if (seconds < 120) {
    return std::to_string(std::max<std::int64_t>(seconds, 0)) + " s";
  }
  if (seconds < 2 * 3600) {
    return std::to_string(seconds / 60) + " min";
  }
  if (seconds < 2 * 86400) {
    return both(seconds / 3600, " h", seconds % 3600 / 60, " min");
  }
  return both(seconds / 86400, " d", seconds % 86400 / 3600, " h");
}

}  // namespace metatap
