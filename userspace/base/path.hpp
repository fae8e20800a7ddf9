// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace metatap {

/// Nova's reading of a request target: the query cut off, percent-encoding decoded once, runs of
/// `/` collapsed, `.` and `..` resolved (never above the root), no slash at the end. Always begins
/// with `/`; bytes that make no sense (NUL, broken UTF-8) are kept and match nothing.
[[nodiscard]] std::string canonical_path(std::string_view target);

}  // namespace metatap
