// SPDX-License-Identifier: Apache-2.0
#include "apps/uninstall.hpp"

#include "base/config.hpp"
#include "dataplane/uninstall.hpp"

namespace metatap::apps {

Status uninstall(const DaemonOptions& options) {
  const auto config = Config::load(options.config_files, options.config_directory);
  if (!config) {
    return tl::make_unexpected(config.error());
  }
  const auto dataplane_options = dataplane::DataPlaneOptions::from(*config);
  if (!dataplane_options) {
    return tl::make_unexpected(dataplane_options.error());
  }
  return dataplane::uninstall(*dataplane_options);
}

}  // namespace metatap::apps
