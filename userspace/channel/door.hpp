// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "channel/socket.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::channel {

/// By which the supervisor after this one finds the worker of this one, should that be all that is
/// left: a UNIX socket in a folder where only the supervisor may write. It is bound here and
/// listened on by the worker alone, so that the kernel says to whoever comes which process it is.
class Door {
 public:
  /// Not yet where anybody looks for it.
  static Result<Door> make(std::filesystem::path folder);

  /// For the worker, which calls listen(2).
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// From now on it is the one that is found, in place of any other.
  [[nodiscard]] Status open() const;

  /// The channel to whoever listens behind the door of that folder. ErrorCode::not_found: nobody.
  static Result<Socket> knock(const std::filesystem::path& folder);
  /// Takes in who knocks at a door that is listened on. nullopt: nobody any more.
  static std::optional<Socket> admit(int door);

 private:
  Door(UniqueFd fd, std::filesystem::path folder)
      : fd_(std::move(fd)), folder_(std::move(folder)) {}
  UniqueFd fd_;
  std::filesystem::path folder_;
};

}  // namespace metatap::channel
