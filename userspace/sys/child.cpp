// SPDX-License-Identifier: Apache-2.0
#include "sys/child.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "base/log.hpp"

namespace metatap::sys {

Result<Child> Child::start(const std::filesystem::path& program,
                           const std::vector<std::string>& arguments, int given) {
  const auto step = "start " + arguments.front() + " (" + program.string() + ")";
  std::vector<char*> argv;
  for (const auto& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  // A duplicate onto its own number would stay close-on-exec.
  const UniqueFd copy(::fcntl(given, F_DUPFD_CLOEXEC, kGiven + 1));
  if (!copy) {
    return fail_errno(errno, step);
  }
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_adddup2(&files, copy.get(), kGiven);
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int failed =
      ::posix_spawn(&pid, program.c_str(), &files, &attributes, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    return fail_errno(failed, step);
  }
  Child child(pid, UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  if (!child.fd_) {
    return fail_errno(errno, "watch " + arguments.front());
  }
  return child;
}

Child::Child(Child&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), fd_(std::move(other.fd_)), end_(std::move(other.end_)) {}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    end();
    pid_ = std::exchange(other.pid_, 0);
    fd_ = std::move(other.fd_);
    end_ = std::move(other.end_);
  }
  return *this;
}

Child::~Child() {
  end();
}

void Child::end() {
  if (pid_ != 0 && !ended()) {
    kill();
    int status = 0;
    (void)::waitpid(pid_, &status, 0);
  }
  pid_ = 0;
}

void Child::kill() const {
  if (!end_ && ::kill(pid_, SIGKILL) != 0) {
    log::warn("kill process {}: errno {}", pid_, errno);
  }
}

std::optional<Child::End> Child::ended() {
  int status = 0;
  if (!end_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    end_ = WIFSIGNALED(status)
               ? End{128 + WTERMSIG(status), "signal " + std::to_string(WTERMSIG(status))}
               : End{WEXITSTATUS(status), "exit status " + std::to_string(WEXITSTATUS(status))};
  }
  return end_;
}

}  // namespace metatap::sys
