// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace metatap::sys {

/// What this process uses, by getrusage(2) and /proc/self. What cannot be read is 0.
struct ProcessUsage {
  double cpu_seconds = 0;  ///< user and system, of all threads
  std::size_t resident_bytes = 0, open_descriptors = 0, max_descriptors = 0, threads = 0;
  /// When it was started, in seconds since the epoch.
  double started = 0;
};

[[nodiscard]] ProcessUsage process_usage();

}  // namespace metatap::sys
