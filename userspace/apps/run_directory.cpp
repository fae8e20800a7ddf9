// SPDX-License-Identifier: Apache-2.0
#include "apps/run_directory.hpp"

#include <system_error>
#include <utility>

#include "sys/lock.hpp"

namespace metatap::apps {

Status RunDirectory::claim(const std::filesystem::path& directory, const DaemonOptions& options) {
  // systemd makes it where it starts us. What cannot be made is told by the first who opens.
  std::error_code told_later;
  std::filesystem::create_directories(directory, told_later);
  for (const auto& [runs_here, stage] :
       {std::pair(options.dataplane, "dataplane"), std::pair(options.agent, "agent"),
        std::pair(options.api, "api")}) {
    if (!runs_here) {
      continue;
    }
    auto place = sys::lock_path(directory / (std::string(stage) + ".lock"), "[DEFAULT] run_path");
    if (!place) {
      return tl::make_unexpected(std::move(place.error()));
    }
    places_.push_back(*std::move(place));
  }
  return {};
}

}  // namespace metatap::apps
