// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

#include "base/log.hpp"

namespace metatap::log {

/// For lines that somebody else can cause, as often as he likes: one in `every`, and with it how
/// many there would have been since the last one. One for each kind of line. Thread-safe.
class Limit {
 public:
  explicit Limit(std::chrono::seconds every = std::chrono::minutes(1)) : every_(every) {}

  template <class... Arguments>
  void warn(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    limited(Level::warning, format, fmt::make_format_args(arguments...));
  }
  template <class... Arguments>
  void error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    limited(Level::error, format, fmt::make_format_args(arguments...));
  }
  template <class... Arguments>
  void info(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    limited(Level::info, format, fmt::make_format_args(arguments...));
  }

  /// Whether a line is due: then how many were left out since the last one.
  [[nodiscard]] std::optional<std::uint64_t> due(std::chrono::steady_clock::time_point now);

 private:
  void limited(Level level, fmt::string_view format, fmt::format_args arguments);

  const std::chrono::steady_clock::duration every_;
  std::atomic<std::chrono::steady_clock::rep> silent_until_{INT64_MIN};
  std::atomic<std::uint64_t> left_out_{0};
};

}  // namespace metatap::log
