// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "http/count.hpp"
#include "http/deadlines.hpp"
#include "http/limits.hpp"
#include "http/listener.hpp"
#include "http/readiness.hpp"
#include "http/session.hpp"
#include "metatap/counters.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

/// A socket server's part on one worker: listeners, sessions, and what they share. Used on that
/// worker's thread, but for `load`.
class Shard : public std::enable_shared_from_this<Shard> {
 public:
  Shard(boost::asio::io_context& its_context, unsigned its_worker, const Limits& its_limits)
      : context(its_context),
        worker(its_worker),
        limits(its_limits),
        deadlines(Deadlines::of(its_context)),
        readiness(Readiness::of(its_context)) {}

  /// The same server's on the other workers.
  void know(const std::vector<std::shared_ptr<Shard>>& all);
  void open(UniqueFd fd, std::string name, std::shared_ptr<Acceptor> acceptor, Share share);
  /// Those that were closed.
  std::vector<const Listener*> close(std::string_view name);
  void abort_from(std::span<const Listener* const> gone);
  void abort_all();
  /// No more connections, and those that are idle end.
  void drain();

  // For its listeners.
  void accepted(const std::shared_ptr<Listener>& listener, UniqueFd fd,
                const sockaddr_storage& peer);
  void accept_failed(const std::string& name, int error);

  // For its sessions.
  boost::asio::io_context& context;
  const unsigned worker;
  const Limits limits;
  Deadlines& deadlines;
  Readiness& readiness;
  boost::intrusive::list<Session, boost::intrusive::base_hook<SessionHook>,
                         boost::intrusive::constant_time_size<false>>
      sessions;
  std::vector<std::unique_ptr<Scratch>> spare;
  bool draining = false;
  /// Connections here and on their way; other workers look at it and add to it.
  alignas(64) std::atomic<unsigned> load{0};
  alignas(64) ServerCounts<Count> count;

 private:
  Shard& least_busy();
  /// `load` counts the connection already.
  void serve(const std::shared_ptr<Listener>& listener, UniqueFd fd, const sockaddr_storage& peer);

  std::vector<std::weak_ptr<Shard>> others_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::int64_t complain_at_ = 0;
};

}  // namespace metatap::http
