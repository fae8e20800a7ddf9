// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>

#include "channel/messages.hpp"
#include "channel/socket.hpp"
#include "dataplane/inherited_listeners.hpp"
#include "metatap/result.hpp"
#include "sys/peer.hpp"

namespace metatap::apps {

/// The worker of a supervisor that has gone (orphan.hpp). It serves on until ours does. What it
/// hands over is looked at (InheritedListeners); it is believed in nothing else.
class FormerWorker {
 public:
  /// Null: there is none, or it was not well and has been ended. What it has goes to `listeners`.
  /// `folder` has its door; `user` is whose it must be. ErrorCode::unsupported: it is of another
  /// version, and was left in its place. Takes as long as it takes to answer, some seconds at most.
  static Result<std::unique_ptr<FormerWorker>> find(const std::filesystem::path& folder, uid_t user,
                                                    dataplane::InheritedListeners& listeners);

  [[nodiscard]] pid_t pid() const { return peer_.pid(); }
  /// Ours serves: it finishes what it has, and is killed if it takes longer than that.
  void drain(const channel::Drain& drain, std::chrono::milliseconds at_most);
  /// It runs no more.
  [[nodiscard]] bool ended();

 private:
  FormerWorker(channel::Socket socket, sys::Peer peer)
      : socket_(std::move(socket)), peer_(std::move(peer)) {}

  channel::Socket socket_;
  sys::Peer peer_;
  std::optional<std::chrono::steady_clock::time_point> until_;
};

/// The listening sockets that the supervisor before us has left: those that the service manager has
/// kept, and those of its worker, which is `former` then. Errors are FormerWorker::find's.
Result<dataplane::InheritedListeners> listeners_left(const std::filesystem::path& folder,
                                                     uid_t user,
                                                     std::unique_ptr<FormerWorker>& former);

}  // namespace metatap::apps
