// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "apps/settings.hpp"
#include "channel/socket.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// The process that reads bytes of others: proxy, agent and API, the inventory and the admin
/// socket, as its user and with no rights. Neighbouring stages that both run here are joined in
/// memory; a stage whose neighbour runs elsewhere speaks to it over the boundary's socket. The data
/// plane is in the supervisor's process. Only wiring: every decision is a stage's own.
class Worker {
 public:
  /// `supervisor`: who started it; nullopt where there is no data plane and it runs by itself.
  Worker(Settings settings, std::optional<channel::Socket> supervisor);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Gives up its rights, starts everything and serves until it is told to end: by SIGINT or
  /// SIGTERM, or by the supervisor alone.
  Status run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap::apps
