// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "apps/daemon.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::apps {

/// The directory of sockets and of what lives until the next start. The processes of a split
/// deployment may share one (and with it the key of the port tag), but each stage is there once.
class RunDirectory {
 public:
  /// Makes it, and takes the places of the stages that run here until the process ends.
  /// ErrorCode::conflict: another process has one of them.
  Status claim(const std::filesystem::path& directory, const DaemonOptions& options);

 private:
  std::vector<UniqueFd> places_;
};

}  // namespace metatap::apps
