// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "http/acceptor.hpp"
#include "http/detached.hpp"
#include "http/readiness.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

class Shard;

/// What becomes of the connections of one listener.
enum class Share : std::uint8_t {
  keep,  ///< the worker that accepts them serves them; each worker has a listener of its own
  out,   ///< the only listener at its address: those of a busy worker are passed to another
};

/// A listening socket, and the coroutine that accepts on it.
class Listener {
 public:
  Listener(boost::asio::io_context& context, UniqueFd fd, std::string name,
           std::shared_ptr<Acceptor> acceptor, Share share);

  /// Accepts for `shard`, on its thread, until it is stopped.
  static Detached run(std::shared_ptr<Listener> self, std::shared_ptr<Shard> shard);
  /// Accepts no more; run() ends when it notices. What was accepted may still be on its way to
  /// another worker.
  void stop();
  /// The same, and what is on its way is not wanted any more.
  void close();
  /// Any thread.
  [[nodiscard]] bool closed() const { return closed_.load(std::memory_order_relaxed); }

  const std::string name;
  const std::shared_ptr<Acceptor> acceptor;
  const Share share;

 private:
  /// False when there is no room for more connections now.
  static bool accept_batch(const std::shared_ptr<Listener>& self, Shard& shard);

  UniqueFd fd_;
  Watch watch_;
  std::atomic<bool> closed_{false};
};

}  // namespace metatap::http
