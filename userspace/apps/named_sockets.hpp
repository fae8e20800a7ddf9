// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>

#include "apps/settings.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::apps {

/// UNIX sockets that the configuration names and that may be root's alone: Open vSwitch's and OVN's
/// databases. The supervisor connects to these for its worker, and to no other.
class NamedSockets {
 public:
  explicit NamedSockets(const Settings& settings);

  /// A connection, non-blocking. ErrorCode::denied: no option names that path; else why nobody
  /// answered there. Does not wait.
  [[nodiscard]] Result<UniqueFd> connect(const std::string& path) const;

 private:
  std::set<std::string> paths_;
};

}  // namespace metatap::apps
