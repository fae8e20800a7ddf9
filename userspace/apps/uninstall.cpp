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
  const auto taps = dataplane::DataPlaneOptions::from(*config);
  const auto routers = dataplane::RouterOptions::from(*config);
  if (!taps || !routers) {
    return tl::make_unexpected(taps ? routers.error() : taps.error());
  }
  return dataplane::uninstall(*taps, *routers);
}

}  // namespace metatap::apps
