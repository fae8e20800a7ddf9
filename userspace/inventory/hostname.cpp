// SPDX-License-Identifier: Apache-2.0
#include "inventory/hostname.hpp"

#include <cstdint>

namespace metatap {
namespace {

/// The code points up to U+00FF of a valid UTF-8 text, at most 63 of them.
std::u32string latin_part(std::string_view text) {
  constexpr std::size_t kLongest = 63;
  std::u32string points;
  for (std::size_t at = 0; at < text.size() && points.size() < kLongest;) {
    const auto byte = static_cast<std::uint8_t>(text[at]);
    if (byte < 0x80) {
      points.push_back(byte);
      ++at;
    } else if (byte == 0xc2 || byte == 0xc3) {
      if (at + 1 < text.size()) {
        points.push_back(static_cast<char32_t>(((byte & 3U) << 6U) |
                                               (static_cast<std::uint8_t>(text[at + 1]) & 0x3fU)));
      }
      at += 2;
    } else {
      at += byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    }
  }
  return points;
}

/// Python's `\w` within Latin-1.
bool is_word(char32_t point) {
  if (point < 0x80) {
    return (point >= '0' && point <= '9') || (point >= 'a' && point <= 'z') ||
           (point >= 'A' && point <= 'Z') || point == '_';
  }
  switch (point) {
    case 0xaa:  // feminine ordinal
    case 0xb2:  // superscript two
    case 0xb3:  // superscript three
    case 0xb5:  // micro
    case 0xb9:  // superscript one
    case 0xba:  // masculine ordinal
    case 0xbc:  // one quarter
    case 0xbd:  // one half
    case 0xbe:  // three quarters
      return true;
    default:
      return point >= 0xc0 && point != 0xd7 && point != 0xf7;
  }
}

char32_t lower(char32_t point) {
  const bool upper = (point >= 'A' && point <= 'Z') || (point >= 0xc0 && point <= 0xde);
  return upper && point != 0xd7 ? point + 0x20 : point;
}

}  // namespace

std::string hostname_from(std::string_view display_name, std::string_view uuid) {
  std::string name;
  for (char32_t point : latin_part(display_name)) {
    if (point == ' ' || point == '_' || point == '.') {
      point = '-';
    }
    if (point != '-' && !is_word(point)) {
      continue;
    }
    point = lower(point);
    if (point < 0x80) {
      name.push_back(static_cast<char>(point));
    } else {
      name.push_back(static_cast<char>(0xc0U | (point >> 6U)));
      name.push_back(static_cast<char>(0x80U | (point & 0x3fU)));
    }
  }
  const auto first = name.find_first_not_of('-');
  if (first == std::string::npos) {
    return "Server-" + std::string(uuid);
  }
  return name.substr(first, name.find_last_not_of('-') - first + 1);
}

}  // namespace metatap
