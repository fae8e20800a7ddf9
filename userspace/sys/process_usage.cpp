// SPDX-License-Identifier: Apache-2.0
#include "sys/process_usage.hpp"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace metatap::sys {
namespace {

std::size_t entries_of(const char* directory) {
  std::error_code error;
  std::size_t count = 0;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    ++count;
  }
  return count;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

double seconds(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

/// The words of proc(5)'s stat behind the name, which may have anything in it: the third is first.
std::istringstream stat_after_name() {
  std::ifstream file("/proc/self/stat");
  const std::string all((std::istreambuf_iterator<char>(file)), {});
  const auto end = std::min(all.rfind(')'), all.size());
  return std::istringstream(all.substr(std::min(end + 1, all.size())));
}

}  // namespace

ProcessUsage process_usage() {
  ProcessUsage usage;
  if (rusage used{}; ::getrusage(RUSAGE_SELF, &used) == 0) {
    usage.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
  }
  if (rlimit limit{}; ::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    usage.max_descriptors = limit.rlim_cur;
  }
  constexpr int kThreads = 20 - 3, kStarted = 22 - 3, kResident = 24 - 3;
  auto stat = stat_after_name();
  std::string word;
  for (int at = 0; at <= kResident && stat >> word; ++at) {
    if (at == kThreads) {
      usage.threads = std::stoul(word);
    } else if (at == kStarted) {
      const auto since_boot = std::stod(word) / static_cast<double>(::sysconf(_SC_CLK_TCK));
      usage.started = seconds(CLOCK_REALTIME) - seconds(CLOCK_BOOTTIME) + since_boot;
    } else if (at == kResident) {
      usage.resident_bytes = std::stoul(word) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    }
  }
  // The one that is used to look is among them.
  usage.open_descriptors = std::max<std::size_t>(entries_of("/proc/self/fd"), 1) - 1;
  return usage;
}

}  // namespace metatap::sys
