// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

namespace metatap {

/// Whether a text is an IP address or a host's name, as oslo.config's HostAddress takes it: labels
/// of letters, digits and hyphens, at most 63 each and 253 in all, and a last one that is no
/// number.
/// `more`: what else a label may have.
[[nodiscard]] bool is_host(std::string_view text, std::string_view more = {});

/// http://host:port/path?query, taken apart.
struct Url {
  bool tls = false;
  std::string host;  ///< without an IPv6 address's brackets; a name may have underscores
  std::uint16_t port = 80;
  std::string authority;     ///< as it was written, for a Host header
  std::string target = "/";  ///< path and query; never empty, without a fragment

  /// ErrorCode::invalid, quoting the text and saying what is wrong. User names are refused, without
  /// quoting.
  static Result<Url> parse(std::string_view text);
};

}  // namespace metatap
