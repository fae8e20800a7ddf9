// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace metatap {
namespace {

/// The value of a hexadecimal digit, or -1.
int hex_value(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '~';
}

constexpr auto kBase64Values = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kBase64Alphabet.size(); ++i) {
    values[static_cast<unsigned char>(kBase64Alphabet[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}();

int base64_value(char c) {
  return kBase64Values[static_cast<unsigned char>(c)];
}

}  // namespace

Utf8Character first_character(std::string_view text) {
  if (text.empty()) {
    return {};
  }
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) {
    return {first, 1};
  }
  // How long the lead byte says it is, and the least that needs that length.
  const std::size_t bytes = first >= 0xc2 && first < 0xe0   ? 2
                            : first >= 0xe0 && first < 0xf0 ? 3
                            : first >= 0xf0 && first < 0xf5 ? 4
                                                            : 0;
  constexpr std::array<char32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  if (bytes == 0 || text.size() < bytes) {
    return {};
  }
  char32_t point = first & (0xffU >> (bytes + 1));
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0U) != 0x80U) {
      return {};
    }
    point = point << 6U | (next & 0x3fU);
  }
  const bool surrogate = point >= 0xd800 && point < 0xe000;
  return point < kLeast[bytes] || point > 0x10ffff || surrogate ? Utf8Character{}
                                                                : Utf8Character{point, bytes};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const auto character = first_character(text);
    if (character.bytes == 0) {
      return false;
    }
    text.remove_prefix(character.bytes);
  }
  return true;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (is_unreserved(c)) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kDigits[byte >> 4U];
      out += kDigits[byte & 15U];
    }
  }
  return out;
}

std::optional<std::string> percent_decoded(std::string_view text, StrayPercent stray) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '%') {
      const bool room = at + 2 < text.size();
      const int high = room ? hex_value(text[at + 1]) : -1;
      const int low = room ? hex_value(text[at + 2]) : -1;
      if (high >= 0 && low >= 0) {
        out += static_cast<char>(high << 4 | low);
        at += 2;
        continue;
      }
      if (stray == StrayPercent::refuse) {
        return std::nullopt;
      }
    }
    out += text[at];
  }
  return out;
}

std::string base64_encoded(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto part = bytes.substr(i, 3);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8U | (j < part.size() ? static_cast<unsigned char>(part[j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += j <= part.size() ? kBase64Alphabet[group >> (18 - 6 * j) & 0x3fU] : '=';
    }
  }
  return out;
}

std::optional<std::string> base64_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t group = 0;
  unsigned have = 0, pads = 0;
  for (const char c : text) {
    if (c == '=') {
      if (have >= 2 && have + ++pads >= 4) {
        return out;  // a complete last group; whatever follows does not count
      }
      continue;
    }
    const int value = base64_value(c);
    if (value < 0) {
      continue;
    }
    pads = 0;
    group = group << 6U | static_cast<std::uint32_t>(value);
    switch (++have) {
      case 2:
        out += static_cast<char>(group >> 4U & 0xffU);
        break;
      case 3:
        out += static_cast<char>(group >> 2U & 0xffU);
        break;
      case 4:
        out += static_cast<char>(group & 0xffU);
        have = 0;
        break;
      default:
        break;
    }
  }
  return have == 0 ? std::optional(out) : std::nullopt;
}

bool is_base64(std::string_view text) {
  const auto digits = text.find_last_not_of('=') + 1;
  return text.size() % 4 == 0 && text.size() - digits <= 2 &&
         std::ranges::all_of(text.substr(0, digits), [](char c) { return base64_value(c) >= 0; });
}

std::string hex_encoded(std::span<const unsigned char> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(2 * bytes.size());
  for (const auto byte : bytes) {
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

}  // namespace metatap
