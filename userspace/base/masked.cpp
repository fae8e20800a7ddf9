// SPDX-License-Identifier: Apache-2.0
#include "base/masked.hpp"

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <regex>

namespace metatap {

bool is_secret(std::string_view name) {
  constexpr std::array<std::string_view, 7> kWords{
      "password", "passwd", "secret", "passphrase", "token", "encryption_key", "tag_key"};
  return std::ranges::any_of(
      kWords, [&](std::string_view word) { return boost::algorithm::icontains(name, word); });
}

std::string masked(std::string_view name, const std::string& value) {
  if (is_secret(name)) {
    return value.empty() ? value : "***";
  }
  // To the last @: a password may have one in it.
  static const std::regex url_password(R"((://[^:/@\s]*):\S*@)");
  static const std::regex keyword_password(R"((password\s*=\s*)('[^']*'|[^\s&]+))",
                                           std::regex::icase);
  return std::regex_replace(std::regex_replace(value, url_password, "$1:***@"), keyword_password,
                            "$1***");
}

}  // namespace metatap
