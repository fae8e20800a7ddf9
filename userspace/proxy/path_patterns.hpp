// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace metatap::proxy {

/// Which paths are not for everybody at any time. A pattern is one of a path's parts, as the shell
/// has it (`vendor_data*`, but no ranges), or, with a `/` in it, a whole path. `-` and `_` are the
/// same, since the two trees spell one thing in two ways (user-data, user_data). Immutable.
class PathPatterns {
 public:
  PathPatterns() = default;
  explicit PathPatterns(std::vector<std::string> patterns);

  [[nodiscard]] bool none() const { return given_.empty(); }
  /// As they were given.
  [[nodiscard]] const std::vector<std::string>& given() const { return given_; }
  /// A target is read as the API reads it (base/path.hpp), and so in every spelling.
  [[nodiscard]] bool cover(std::string_view target) const;

 private:
  std::vector<std::string> given_, parts_, paths_;
};

/// What a target asks for, whichever tree and version it asks in: "user_data" of
/// /openstack/2018-08-27/user_data and of /latest/user-data.
[[nodiscard]] std::string subject_of(std::string_view target);

}  // namespace metatap::proxy
