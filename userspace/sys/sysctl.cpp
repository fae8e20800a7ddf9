// SPDX-License-Identifier: Apache-2.0
#include "sys/sysctl.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <ranges>

namespace metatap::sys {
namespace {

std::string full_path(std::string_view path) {
  return "/proc/sys/" + std::string(path);
}

}  // namespace

// /proc/sys/net follows the namespace of the thread that opens the file.
Result<std::string> get_sysctl(std::string_view path) {
  const UniqueFd fd(::open(full_path(path).c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> buffer{};
  if (!fd) {
    return fail_errno(errno, "read sysctl " + std::string(path));
  }
  const auto size = ::read(fd.get(), buffer.data(), buffer.size());
  if (size < 0) {
    return fail_errno(errno, "read sysctl " + std::string(path));
  }
  std::string value(buffer.data(), static_cast<std::size_t>(size));
  value.erase(value.find_last_not_of(" \n") + 1);
  return value;
}

Status set_sysctl(std::string_view path, std::string_view value) {
  const UniqueFd fd(::open(full_path(path).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), value.data(), value.size()) < 0) {
    return fail_errno(errno, "set sysctl " + std::string(path) + " to " + std::string(value));
  }
  return {};
}

Status SysctlJournal::set(const NetNamespace& where, std::string_view path,
                          std::string_view value) {
  return where.run([&]() -> Status {
    auto before = get_sysctl(path);
    if (!before) {
      return tl::make_unexpected(std::move(before.error()));
    }
    if (*before == value) {
      return {};
    }
    if (auto done = set_sysctl(path, value); !done) {
      return done;
    }
    entries_.push_back({std::string(path), *std::move(before), std::string(value)});
    return {};
  });
}

Status SysctlJournal::undo(const NetNamespace& where) {
  if (entries_.empty()) {
    return {};
  }
  return where.run([&]() -> Status {
    Status first;
    for (const auto& entry : entries_ | std::views::reverse) {
      const auto now = get_sysctl(entry.path);
      if (!now || *now != entry.after) {
        continue;
      }
      if (auto done = set_sysctl(entry.path, entry.before); !done && first) {
        first = std::move(done);
      }
    }
    entries_.clear();
    return first;
  });
}

}  // namespace metatap::sys
