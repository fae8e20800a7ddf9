// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace metatap::api {

/// HMAC-SHA256 in lower-case hex.
using Signature = std::array<char, 64>;

[[nodiscard]] Signature sign(std::string_view secret, std::string_view text);
/// Takes the same time whatever the difference is.
[[nodiscard]] bool same_signature(std::string_view given, const Signature& expected);

}  // namespace metatap::api
