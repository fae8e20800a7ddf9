// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace metatap {

/// As a person says it: "3 s", "5 min", "2 h 10 min", "4 d 1 h". A negative one is none.
[[nodiscard]] std::string duration_text(std::int64_t seconds);

}  // namespace metatap
