// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace metatap::http {

/// RFC 9110 5.6.2: which bytes a token is made of.
inline constexpr auto kTokenBytes = [] {
  std::array<bool, 256> bytes{};
  for (const auto range : {"az", "AZ", "09"}) {
    for (char c = range[0]; c <= range[1]; ++c) {
      bytes[static_cast<unsigned char>(c)] = true;
    }
  }
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) {
    bytes[static_cast<unsigned char>(c)] = true;
  }
  return bytes;
}();

[[nodiscard]] constexpr bool is_token_byte(char c) {
  return kTokenBytes[static_cast<unsigned char>(c)];
}
[[nodiscard]] constexpr bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_byte);
}

}  // namespace metatap::http
