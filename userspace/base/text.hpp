// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// Trimming, UTF-8, percent coding, base64 and hexadecimal digits: each once. What is about case
/// and needs no allocation is in ascii.hpp.
namespace metatap {

/// HTTP's optional white space.
inline constexpr std::string_view kBlanks = " \t";
/// What Python's str.strip() takes off ASCII text.
inline constexpr std::string_view kWhiteSpace = " \t\n\v\f\r";

/// Without what stands in front and behind of it.
[[nodiscard]] constexpr std::string_view trimmed(std::string_view text,
                                                 std::string_view taken_off = kBlanks) {
  const auto first = text.find_first_not_of(taken_off);
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(taken_off) - first + 1);
}

/// One character of a text in UTF-8.
struct Utf8Character {
  char32_t point = 0;
  std::size_t bytes = 0;  ///< 0: what stands there is not UTF-8, or nothing does
};
/// The character a text begins with. Overlong forms, surrogates and what is beyond U+10FFFF are not
/// UTF-8.
[[nodiscard]] Utf8Character first_character(std::string_view text);
[[nodiscard]] bool is_utf8(std::string_view text);

/// For one part of a URL: all but RFC 3986's unreserved characters as %XX.
[[nodiscard]] std::string percent_encoded(std::string_view text);
/// What to do about a `%` that two hexadecimal digits do not follow.
enum class StrayPercent { refuse, keep };
/// nullopt: there is one, and it is refused.
[[nodiscard]] std::optional<std::string> percent_decoded(std::string_view text,
                                                         StrayPercent stray = StrayPercent::refuse);

inline constexpr std::string_view kBase64Alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
[[nodiscard]] std::string base64_encoded(std::string_view bytes);
/// As Python's binascii: bytes outside the alphabet are skipped, missing padding is an error
/// (nullopt).
[[nodiscard]] std::optional<std::string> base64_decoded(std::string_view text);
/// Nothing but the alphabet, in whole groups, with at most two `=` at the end.
[[nodiscard]] bool is_base64(std::string_view text);

/// Two lower-case digits for each byte.
[[nodiscard]] std::string hex_encoded(std::span<const unsigned char> bytes);

}  // namespace metatap
