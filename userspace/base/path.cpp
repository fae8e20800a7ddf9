// SPDX-License-Identifier: Apache-2.0
#include "base/path.hpp"

#include "base/text.hpp"

namespace metatap {

std::string canonical_path(std::string_view target) {
  const std::string decoded =
      *percent_decoded(target.substr(0, target.find_first_of("?#")), StrayPercent::keep);
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

}  // namespace metatap
