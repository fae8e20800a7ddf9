// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

/// How supervisor and worker talk: whole messages with descriptors, over a pair of UNIX sockets
/// that nobody else has an end of. Neither side believes that the other is well, or of its own
/// version.
namespace metatap::channel {

/// Of the messages as a whole. Another one is refused: who replaces a worker by a newer one finds
/// out before the old one goes.
inline constexpr std::uint16_t kVersion = 3;
inline constexpr std::size_t kMostDescriptors = 8;
/// A body that is longer travels in a file of its own (memfd_create(2)).
inline constexpr std::size_t kMostInline = std::size_t{32} << 10U;
/// No body is longer: an inventory of some hundred thousand ports.
inline constexpr std::size_t kMostBytes = std::size_t{256} << 20U;

struct Frame {
  std::uint16_t type = 0;
  std::string body;
  std::vector<UniqueFd> descriptors;
};

/// One end. Non-blocking, close-on-exec. One thread at a time.
class Socket {
 public:
  static Result<std::pair<Socket, Socket>> pair();
  explicit Socket(UniqueFd fd) : fd_(std::move(fd)) {}

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] UniqueFd release() && { return std::move(fd_); }

  /// False: there is no room at the moment, nothing was sent. ErrorCode::unavailable: nobody is at
  /// the other end. The descriptors stay the caller's.
  [[nodiscard]] Result<bool> send(std::uint16_t type, std::string_view body,
                                  std::span<const int> descriptors = {}) const;
  /// nullopt: nothing is there at the moment. ErrorCode::unavailable: the other end has gone.
  /// ErrorCode::invalid: what came is no message, or not all of it arrived; ErrorCode::unsupported:
  /// it is of another version. Nothing after it can be trusted. No descriptor is left over in any
  /// case.
  [[nodiscard]] Result<std::optional<Frame>> receive() const;

 private:
  UniqueFd fd_;
};

}  // namespace metatap::channel
