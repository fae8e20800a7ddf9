// SPDX-License-Identifier: Apache-2.0
#include "proxy/path_patterns.hpp"

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

PathPatterns::PathPatterns(std::vector<std::string> patterns) : given_(std::move(patterns)) {
  for (const auto& pattern : given_) {
    auto& kind = pattern.find('/') == std::string::npos ? parts_ : paths_;
    kind.push_back(spelt_alike(pattern));
  }
}

bool PathPatterns::cover(std::string_view target) const {
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

std::string subject_of(std::string_view target) {
  const std::string path = spelt_alike(canonical_path(target));
  // Before it stands a version, and before that one perhaps the tree's name.
  const int before = path.starts_with("/openstack/") || path.starts_with("/ec2/") ? 2 : 1;
  std::size_t at = 0;
  for (int part = 0; part < before; ++part) {
    const auto next = path.find('/', at + 1);
    at = next == std::string::npos ? at : next;
  }
  return path.substr(at + 1);
}

}  // namespace metatap::proxy
