// SPDX-License-Identifier: Apache-2.0
#include "api/base64.hpp"

#include <array>
#include <cstdint>

namespace metatap::api {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr auto kValues = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}();

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto part = bytes.substr(i, 3);
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8U | (j < part.size() ? static_cast<unsigned char>(part[j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += j <= part.size() ? kAlphabet[group >> (18 - 6 * j) & 0x3FU] : '=';
    }
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
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
    const auto value = kValues[static_cast<unsigned char>(c)];
    if (value < 0) {
      continue;
    }
    pads = 0;
    group = group << 6U | static_cast<std::uint32_t>(value);
    switch (++have) {
      case 2:
        out += static_cast<char>(group >> 4U & 0xFFU);
        break;
      case 3:
        out += static_cast<char>(group >> 2U & 0xFFU);
        break;
      case 4:
        out += static_cast<char>(group & 0xFFU);
        have = 0;
        break;
      default:
        break;
    }
  }
  return have == 0 ? std::optional(out) : std::nullopt;
}

}  // namespace metatap::api
