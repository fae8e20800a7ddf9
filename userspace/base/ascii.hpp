// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

namespace metatap {

/// HTTP's names are ASCII and compared without case. No locale takes part: looking one up for
/// each comparison costs more than the comparison.
[[nodiscard]] constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

[[nodiscard]] constexpr bool iequals(std::string_view left, std::string_view right) {
  if (left.size() != right.size()) {
    return false;
  }
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (lower(left[i]) != lower(right[i])) {
      return false;
    }
  }
  return true;
}

[[nodiscard]] constexpr bool istarts_with(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && iequals(text.substr(0, start.size()), start);
}

[[nodiscard]] constexpr bool icontains(std::string_view text, std::string_view part) {
  for (; text.size() >= part.size(); text.remove_prefix(1)) {
    if (istarts_with(text, part)) {
      return true;
    }
    if (text.empty()) {
      break;
    }
  }
  return part.empty();
}

/// Whether a header's name or value is one: nothing in it ends a line or a string. Three searches,
/// since the library's look at 32 bytes at a time.
[[nodiscard]] constexpr bool single_line(std::string_view text) {
  return text.find('\n') == std::string_view::npos && text.find('\r') == std::string_view::npos &&
         text.find('\0') == std::string_view::npos;
}

}  // namespace metatap
