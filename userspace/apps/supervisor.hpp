// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "apps/settings.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// The process that has the rights: data plane (programs, devices, namespaces, listening sockets,
/// the table of who is who) and the worker that serves. It reads no byte of a guest and no HTTP; of
/// the worker it takes which ports there are, and believes it in nothing else.
///
/// A worker that dies is replaced; connections wait meanwhile. One that dies again and again closes
/// the gate: guests go where their ports' `when_down` says, and it is tried again ever more slowly.
class Supervisor {
 public:
  explicit Supervisor(Settings settings);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// Serves until SIGINT or SIGTERM, and puts the host back as it was. SIGHUP replaces the worker:
  /// a new one, which reads the configuration anew, is ready before the old one accepts no more.
  /// SIGUSR2 leaves all as it is to the supervisor that comes next, as SIGKILL does less orderly:
  /// listening sockets are kept by the service manager, or by the worker, which serves on; programs
  /// and maps are pinned; that one takes them over, and ours is drained when its worker serves.
  Status run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace metatap::apps
