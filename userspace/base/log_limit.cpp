// SPDX-License-Identifier: Apache-2.0
#include "base/log_limit.hpp"

#include <fmt/format.h>

namespace metatap::log {

std::optional<std::uint64_t> Limit::due(std::chrono::steady_clock::time_point now) {
  const auto at = now.time_since_epoch().count();
  auto until = silent_until_.load(std::memory_order_relaxed);
  if (at < until || !silent_until_.compare_exchange_strong(until, at + every_.count(),
                                                           std::memory_order_relaxed)) {
    left_out_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  return left_out_.exchange(0, std::memory_order_relaxed);
}

void Limit::limited(Level level, fmt::string_view format, fmt::format_args arguments) {
  const auto left_out = due(std::chrono::steady_clock::now());
  if (!left_out) {
    return;
  }
  if (*left_out == 0) {
    write(level, format, arguments);
    return;
  }
  const std::string line = fmt::vformat(format, arguments);
  write(level, "{} ({} more like this since the last line)",
        fmt::make_format_args(line, *left_out));
}

}  // namespace metatap::log
