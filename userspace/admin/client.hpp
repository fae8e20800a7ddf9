// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "metatap/exchange.hpp"
#include "metatap/result.hpp"

namespace metatap::admin {

/// The command line's side of the admin socket: one request, one answer, waiting for it.
class AdminClient {
 public:
  /// A GET is waited for so long; what changes something, up to ten minutes, as its end should be
  /// known.
  static constexpr std::chrono::milliseconds kPatience = std::chrono::seconds(30);
  explicit AdminClient(std::string socket, std::chrono::milliseconds patience = kPatience)
      : socket_(std::move(socket)), patience_(patience) {}

  /// The body of a 2xx answer. Other answers become the error they carry. ErrorCode::unavailable,
  /// with a hint: nobody listens, or it does not answer, or is no metatapd; denied: we may not
  /// connect; unsupported: a daemon of another version, which knows no such call. Where a worker
  /// has died and its socket has nobody behind it, the next one is waited for, up to two seconds.
  [[nodiscard]] Result<std::string> call(std::string_view method, std::string_view target,
                                         std::string_view body = {}) const;

 private:
  std::string socket_;
  std::chrono::milliseconds patience_;
};

}  // namespace metatap::admin
