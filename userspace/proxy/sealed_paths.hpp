// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace metatap::proxy {

/// The paths that hold what only the boot needs. A pattern is one of a path's parts, as the shell
/// has it (`vendor_data*`, but no ranges), or, with a `/` in it, a whole path. `-` and `_` are the
/// same, since the two trees spell one thing in two ways (user-data, user_data). Immutable.
class SealedPaths {
 public:
  SealedPaths() = default;
  explicit SealedPaths(std::vector<std::string> patterns);

  [[nodiscard]] bool none() const { return parts_.empty() && paths_.empty(); }
  /// A target is read as the API reads it (base/path.hpp), and so in every spelling.
  [[nodiscard]] bool cover(std::string_view target) const;

 private:
  std::vector<std::string> parts_, paths_;
};

}  // namespace metatap::proxy
