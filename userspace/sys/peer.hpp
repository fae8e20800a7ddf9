// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::sys {

/// The process at the other end of a UNIX socket, as the kernel knows it: for one that we have
/// connected to, whoever called listen(2).
class Peer {
 public:
  /// ErrorCode::unavailable: it runs no more.
  static Result<Peer> of(int socket);

  [[nodiscard]] uid_t uid() const { return uid_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool ended() const;
  /// That very process, also when its number has become another's.
  void kill() const;

 private:
  Peer(uid_t uid, pid_t pid, UniqueFd fd) : uid_(uid), pid_(pid), fd_(std::move(fd)) {}
  uid_t uid_;
  pid_t pid_;
  UniqueFd fd_;  ///< readable once it has ended
};

}  // namespace metatap::sys
