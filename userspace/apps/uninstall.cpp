// SPDX-License-Identifier: Apache-2.0
#include "apps/uninstall.hpp"

#include <unistd.h>

#include <chrono>
#include <thread>
#include <utility>

#include "apps/former_worker.hpp"
#include "apps/settings.hpp"
#include "base/config.hpp"
#include "base/log.hpp"
#include "dataplane/own_records.hpp"
#include "dataplane/uninstall.hpp"

namespace metatap::apps {
namespace {

using namespace std::chrono_literals;

/// One that serves on without its supervisor.
Status end_former_worker(const Settings& settings) {
  const auto user = settings.unprivileged_user();
  if (!user) {
    return tl::make_unexpected(user.error());
  }
  dataplane::InheritedListeners none;
  auto former = FormerWorker::find(settings.run_path / dataplane::kOwnRecords,
                                   ::geteuid() == 0 ? user->uid : ::geteuid(), none);
  if (!former) {
    return tl::make_unexpected(std::move(former.error()));
  }
  if (*former) {
    (*former)->drain({}, 1s);
    while (!(*former)->ended()) {
      std::this_thread::sleep_for(20ms);
    }
  }
  return {};
}

}  // namespace

Status uninstall(const DaemonOptions& options) {
  const auto config = Config::load(options.config_files, options.config_directory);
  if (!config) {
    return tl::make_unexpected(config.error());
  }
  const auto dataplane_options = dataplane::DataPlaneOptions::from(*config);
  if (!dataplane_options) {
    return tl::make_unexpected(dataplane_options.error());
  }
  if (const auto settings = Settings::read(options)) {
    if (const auto ended = end_former_worker(*settings); !ended) {
      log::warn("{}", ended.error().message);
    }
  }
  return dataplane::uninstall(*dataplane_options);
}

}  // namespace metatap::apps
