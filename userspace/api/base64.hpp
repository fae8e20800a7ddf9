// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace metatap::api {

[[nodiscard]] std::string base64_encode(std::string_view bytes);
/// As Python's binascii: bytes outside the alphabet are skipped, missing padding is an error
/// (nullopt).
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

}  // namespace metatap::api
