// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace metatap {

/// The UUID (RFC 9562, version 5) that a name always has, in metatap's own namespace.
[[nodiscard]] std::string uuid_of_name(std::string_view name);

/// The first hexadecimal digits of what a name always hashes to (SHA-1), 40 at most.
[[nodiscard]] std::string digits_of_name(std::string_view name, unsigned digits);

}  // namespace metatap
