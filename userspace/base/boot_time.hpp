// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <ctime>
#include <string>

namespace metatap {

/// Milliseconds since this host was started, suspended or not: the same for all processes, and
/// moved by nobody who sets the clock.
[[nodiscard]] inline std::int64_t boot_time() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

/// A name that this start of the host has alone, and all processes know. Where the kernel does not
/// say it, one of this process.
[[nodiscard]] std::string this_boot();

}  // namespace metatap
