// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "http/endpoint.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap {
class Config;
}

namespace metatap::admin {

struct MetricsOptions {
  /// [admin] metrics_listen. Never an address at which guests could be: not a wildcard, which is
  /// all there are, nor a link-local one, which is on their side of every bridge.
  std::optional<http::TcpEndpoint> listen;

  static Result<MetricsOptions> from(const Config& config);
  /// A socket that listens there; closed where none is asked for. ErrorCode::conflict: another
  /// process has the port.
  [[nodiscard]] Result<UniqueFd> open() const;
};

}  // namespace metatap::admin
