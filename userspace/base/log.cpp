// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>

#include "base/log_level.hpp"

namespace metatap::log {
namespace {

/// Whether standard error is the journal's, which then has time and priority of each line by
/// itself: what systemd says in the environment is compared with what is open (systemd.exec(5)).
bool is_journal() {
  const char* const said = ::getenv("JOURNAL_STREAM");
  struct stat is{};
  return said != nullptr && ::fstat(STDERR_FILENO, &is) == 0 &&
         said == fmt::format("{}:{}", is.st_dev, is.st_ino);
}

struct Output {
  const bool journal = is_journal();
  spdlog::logger lines{"metatap", std::make_shared<spdlog::sinks::stderr_sink_mt>()};

  Output() { lines.set_pattern(journal ? "%v" : "%Y-%m-%d %H:%M:%S.%e %L %v"); }
};

/// Never taken down, and in no list of spdlog's: threads that are left behind, because a disk or a
/// server does not answer them, may have something to say while the process ends.
Output& output() {
  static auto* const made = new Output;
  return *made;
}

spdlog::logger& logger() {
  return output().lines;
}

/// sd-daemon(3): in front of a line, its priority.
const char* prefix(Level level) {
  switch (level) {
    case Level::debug:
      return "<7>";
    case Level::info:
      return "<6>";
    case Level::warning:
      return "<4>";
    case Level::error:
      break;
  }
  return "<3>";
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
    auto line = fmt::vformat(format, arguments);
    if (output().journal) {
      line.insert(0, prefix(level));
    }
    logger().log(severity(level), line);
  }
}

}  // namespace metatap::log
