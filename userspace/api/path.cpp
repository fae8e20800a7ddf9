// SPDX-License-Identifier: Apache-2.0
#include "api/path.hpp"

namespace metatap::api {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
      if (high >= 0 && low >= 0) {
        out += static_cast<char>(high << 4 | low);
        i += 2;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

}  // namespace

std::string canonical_path(std::string_view target) {
  const std::string decoded = percent_decoded(target.substr(0, target.find_first_of("?#")));
  std::string path;
  path.reserve(decoded.size() + 1);
  std::string_view rest = decoded;
  while (!rest.empty()) {
    const auto slash = rest.find('/');
    const auto segment = rest.substr(0, slash);
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
    if (segment.empty() || segment == ".") {
      continue;
    }
    if (segment == "..") {
      const auto parent = path.rfind('/');
      path.resize(parent == std::string::npos ? 0 : parent);
      continue;
    }
    path.append("/").append(segment);
  }
  return path.empty() ? "/" : path;
}

}  // namespace metatap::api
