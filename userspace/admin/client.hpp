// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "metatap/exchange.hpp"
#include "metatap/result.hpp"

namespace metatap::admin {

/// The command line's side of the admin socket: one request, one answer, waiting for it.
class AdminClient {
 public:
  explicit AdminClient(std::string socket) : socket_(std::move(socket)) {}

  /// The body of a 2xx answer. Other answers become the error they carry. ErrorCode::unavailable,
  /// with a hint: nobody listens; denied: we may not connect; unsupported: a daemon of another
  /// version, which knows no such call.
  [[nodiscard]] Result<std::string> call(std::string_view method, std::string_view target,
                                         std::string_view body = {}) const;

 private:
  std::string socket_;
};

}  // namespace metatap::admin
