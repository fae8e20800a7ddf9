// SPDX-License-Identifier: Apache-2.0
#include "sys/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/log.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::sys {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kToDie{1};

/// False: not by then.
bool readable(int fd, Clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{fd, POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready >= 0 || errno != EINTR) {
      return ready > 0;
    }
  }
}

Result<std::string> read_all(int fd, Clock::time_point deadline, std::size_t longest) {
  std::string text;
  std::array<char, 65536> buffer;
  while (readable(fd, deadline)) {
    const auto size = ::read(fd, buffer.data(), buffer.size());
    if (size == 0) {
      return text;
    }
    if (size < 0 && errno != EINTR) {
      return fail_errno(errno, "read");
    }
    text.append(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    if (text.size() > longest) {
      return fail(ErrorCode::invalid, "it says more than " + std::to_string(longest) + " bytes");
    }
  }
  return fail(ErrorCode::timeout, "it takes too long");
}

/// In a group of its own, so that what it starts itself can be ended with it.
Result<pid_t> start(const std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (const auto& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  pid_t pid = 0;
  const int failed =
      ::posix_spawnp(&pid, command.front().c_str(), &files, &attributes, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    return fail_errno(failed, "start");
  }
  return pid;
}

/// Its status as waitpid(2) has it. One that the kernel does not let die is left to itself.
Result<int> status_of(pid_t pid, Clock::time_point deadline) {
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (process && !readable(process.get(), deadline)) {
    return fail(ErrorCode::timeout, "it does not end");
  }
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) {
    return fail_errno(errno, "wait");
  }
  return status;
}

Result<std::string> run(const std::vector<std::string>& command, std::chrono::milliseconds patience,
                        std::size_t longest) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return fail_errno(errno, "make a pipe");
  }
  const UniqueFd input(ends[0]);
  UniqueFd output(ends[1]);
  const auto pid = start(command, output.get());
  output.reset();
  if (!pid) {
    return tl::make_unexpected(pid.error());
  }
  const auto deadline = Clock::now() + patience;
  auto text = read_all(input.get(), deadline, longest);
  auto status = text ? status_of(*pid, deadline) : Result<int>(0);
  if (!text || !status) {
    (void)::kill(-*pid, SIGKILL);
    if (auto ended = status_of(*pid, Clock::now() + kToDie); !ended) {
      log::warn("process {} ({}): {}", *pid, command.front(), ended.error().message);
    }
    return text ? tl::make_unexpected(std::move(status.error())) : std::move(text);
  }
  if (*status != 0) {
    return fail(ErrorCode::internal, "it fails");
  }
  return text;
}

}  // namespace

Result<std::string> output_of(const std::vector<std::string>& command,
                              std::chrono::milliseconds patience, std::size_t longest) {
  auto output = run(command, patience, longest);
  if (!output) {
    return tl::make_unexpected(std::move(output.error()).in(command.front()));
  }
  return output;
}

}  // namespace metatap::sys
