// SPDX-License-Identifier: Apache-2.0
#pragma once

// One log for the whole process, on stderr, where systemd and people find it. A line is one event,
// lower case, with its subject first; no line is written per request at the default level, and no
// line ever holds a secret or bytes a guest chose without quoting. Any thread.
//
// Only the formatting is a template; what writes the line is behind write(), because spdlog's own
// header takes seconds to compile wherever it is included.
#include <fmt/core.h>

#include <cstdint>
#include <string_view>
#include <utility>

namespace metatap::log {

enum class Level : std::uint8_t { debug, info, warning, error };

/// Lines below `level` are not written. By name as on the command line: debug, info, warning,
/// error; another name is info. Before the first call: info.
void set_level(std::string_view name);
[[nodiscard]] bool wanted(Level level);
void write(Level level, fmt::string_view format, fmt::format_args arguments);

template <class... Arguments>
void debug(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  if (wanted(Level::debug)) {
    write(Level::debug, format, fmt::make_format_args(arguments...));
  }
}
template <class... Arguments>
void info(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write(Level::info, format, fmt::make_format_args(arguments...));
}
template <class... Arguments>
void warn(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write(Level::warning, format, fmt::make_format_args(arguments...));
}
template <class... Arguments>
void error(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write(Level::error, format, fmt::make_format_args(arguments...));
}

}  // namespace metatap::log
