// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>

#include "base/log_level.hpp"

namespace metatap::log {
namespace {

spdlog::logger& logger() {
  static const auto made = [] {
    auto to_stderr = spdlog::stderr_logger_mt("metatap");
    to_stderr->set_pattern("%Y-%m-%d %H:%M:%S.%e %L %v");
    return to_stderr;
  }();
  return *made;
}

std::atomic chosen = spdlog::level::info;
std::atomic debug_lines = false;

spdlog::level::level_enum severity(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warning:
      return spdlog::level::warn;
    case Level::error:
      break;
  }
  return spdlog::level::err;
}

}  // namespace

void set_level(std::string_view name) {
  chosen = name == "debug"     ? spdlog::level::debug
           : name == "warning" ? spdlog::level::warn
           : name == "error"   ? spdlog::level::err
                               : spdlog::level::info;
  set_debug(debug_lines);
}

void set_debug(bool on) {
  debug_lines = on;
  logger().set_level(on ? spdlog::level::debug : chosen.load());
}

bool debugging() {
  return debug_lines;
}

bool wanted(Level level) {
  return logger().should_log(severity(level));
}

void write(Level level, fmt::string_view format, fmt::format_args arguments) {
  if (wanted(level)) {
    logger().log(severity(level), fmt::vformat(format, arguments));
  }
}

}  // namespace metatap::log
