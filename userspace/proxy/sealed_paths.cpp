// SPDX-License-Identifier: Apache-2.0
#include "proxy/sealed_paths.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <utility>

#include "base/path.hpp"

namespace metatap::proxy {
namespace {

std::string spelt_alike(std::string text) {
  std::ranges::replace(text, '-', '_');
  return text;
}

bool any_fits(const std::vector<std::string>& patterns, const std::string& text, int flags) {
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), text.c_str(), flags) == 0;
  });
}

}  // namespace

SealedPaths::SealedPaths(std::vector<std::string> patterns) {
  for (auto& pattern : patterns) {
    auto& kind = pattern.find('/') == std::string::npos ? parts_ : paths_;
    kind.push_back(spelt_alike(std::move(pattern)));
  }
}

bool SealedPaths::cover(std::string_view target) const {
  if (none()) {
    return false;
  }
  const std::string path = spelt_alike(canonical_path(target));
  if (any_fits(paths_, path, FNM_PATHNAME)) {
    return true;
  }
  for (std::size_t at = 1; at < path.size();) {
    const auto end = std::min(path.find('/', at), path.size());
    if (any_fits(parts_, path.substr(at, end - at), 0)) {
      return true;
    }
    at = end + 1;
  }
  return false;
}

}  // namespace metatap::proxy
