// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "http/acceptor.hpp"
#include "http/limits.hpp"
#include "http/listener.hpp"
#include "http/workers.hpp"
#include "metatap/counters.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

class Shard;

/// Accepts on listening sockets and serves HTTP/1.x on each connection: one coroutine per
/// connection, on one worker. What the server and the proxy have in common.
///
/// Requests are read whole (HTTP/1.0 and 1.1, split, chunked, pipelined one after the other) and
/// each response leaves in one gathered write. Both are tried first and waited for second.
///
/// open(), close() and stop() may be called from any thread. Workers must outlive the server.
class SocketServer {
 public:
  SocketServer(Workers& workers, Limits limits);
  SocketServer(const SocketServer&) = delete;
  SocketServer& operator=(const SocketServer&) = delete;
  ~SocketServer();  ///< stop() without a drain

  /// `listener`: bound, listening, non-blocking. Names need not be unique.
  void open(unsigned worker, UniqueFd listener, std::string name,
            std::shared_ptr<Acceptor> acceptor, Share share = Share::keep);
  /// Closes all listeners of that name and the connections accepted from them; their descriptors
  /// are closed when this returns. False: there was none.
  bool close(std::string_view name);
  /// Closes the listeners and idle connections; the others close with their next response.
  void drain();
  /// Connections, those on their way to another worker included.
  [[nodiscard]] unsigned open_connections() const;
  /// Closes the listeners and idle connections, lets running requests finish for at most `longest`,
  /// then closes the rest.
  void stop(std::chrono::milliseconds longest);

  [[nodiscard]] ServerCounts<> counters() const;  ///< summed over the workers
  [[nodiscard]] unsigned workers() const { return workers_.size(); }
  [[nodiscard]] const Limits& limits() const { return limits_; }

 private:
  Workers& workers_;
  Limits limits_;
  std::vector<std::shared_ptr<Shard>> shards_;
};

}  // namespace metatap::http
