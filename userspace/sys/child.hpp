// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::sys {

/// Another process of ours. Killed, and waited for, if it still runs when this goes, unless it was
/// let go of.
class Child {
 public:
  /// The descriptor that a child has of what it was given.
  static constexpr int kGiven = 3;

  /// Runs `program` with these arguments, the first of which is its name. It gets `given` as
  /// descriptor kGiven and, of ours, standard input and output alone.
  static Result<Child> start(const std::filesystem::path& program,
                             const std::vector<std::string>& arguments, int given);

  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Readable once it has ended (pidfd_open(2)).
  [[nodiscard]] int fd() const { return fd_.get(); }
  void kill() const;
  /// It goes on whatever becomes of us.
  void let_go() { pid_ = 0; }

  /// How it ended, in words for a log; nullopt: it runs.
  struct End {
    int status = 0;      ///< as it exited; 128 and the signal's number if it was killed
    std::string reason;  ///< "exit status 1", "signal 9"
  };
  [[nodiscard]] std::optional<End> ended();

 private:
  Child(pid_t pid, UniqueFd fd) : pid_(pid), fd_(std::move(fd)) {}
  void end();
  pid_t pid_ = 0;
  UniqueFd fd_;
  std::optional<End> end_;
};

}  // namespace metatap::sys
