// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

namespace metatap {

/// Where a PostgreSQL database is and how to connect to it.
struct PostgresAddress {
  std::string options;  ///< for libpq; may hold a password
  std::string shown;    ///< the URL as it may be shown: no password, no options

  /// From a URL as SQLAlchemy or libpq has it (`postgresql://…`, `+driver` tolerated). What it does
  /// not say gets our defaults: connections that are given up within about `limit`, and over TCP,
  /// loopback excepted, `sslmode=verify-full` against the host's certificate authorities: the
  /// inventory holds what guests keep secret. ErrorCode::invalid does not repeat the URL.
  static Result<PostgresAddress> of(std::string_view url, std::chrono::milliseconds limit);
};

}  // namespace metatap
