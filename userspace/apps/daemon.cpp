// SPDX-License-Identifier: Apache-2.0
#include "apps/daemon.hpp"

#include <utility>

#include "apps/preflight.hpp"
#include "apps/settings.hpp"
#include "apps/supervisor.hpp"
#include "apps/worker.hpp"

namespace metatap::apps {

struct Daemon::Impl {
  Settings settings;
};

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::build(const DaemonOptions& options) {
  auto settings = Settings::read(options);
  if (!settings) {
    return tl::make_unexpected(std::move(settings.error()));
  }
  return std::unique_ptr<Daemon>(new Daemon(std::make_unique<Impl>(Impl{*std::move(settings)})));
}

Status Daemon::check() const {
  auto status = preflight(impl_->settings);
  impl_->settings.note_unread();
  return status;
}

Status Daemon::run() {
  auto& settings = impl_->settings;
  if (settings.options.channel) {
    return Worker(std::move(settings), channel::Socket(UniqueFd(*settings.options.channel))).run();
  }
  if (settings.options.dataplane) {
    return Supervisor(std::move(settings)).run();
  }
  return Worker(std::move(settings), std::nullopt).run();
}

}  // namespace metatap::apps
