// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/intrusive/list.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log_limit.hpp"
#include "http/count.hpp"
#include "http/deadlines.hpp"
#include "http/limits.hpp"
#include "http/listener.hpp"
#include "http/overload.hpp"
#include "http/readiness.hpp"
#include "http/session.hpp"
#include "http/spare_descriptors.hpp"
#include "metatap/counters.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {

/// A socket server's part on one worker: listeners, sessions, and what they share. Used on that
/// worker's thread, but for `load`. It has its part of the server's connections, and of what the
/// process may have; when that is used up its listeners wait.
class Shard : public std::enable_shared_from_this<Shard> {
 public:
  /// `workers`: how many of them the server has.
  Shard(boost::asio::io_context& its_context, unsigned its_worker, unsigned workers,
        const Limits& its_limits);

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
  /// So many more may be accepted now.
  [[nodiscard]] std::size_t room() const;
  /// There is no room: those that rest make some.
  void put_off(const std::string& name);
  /// Whether to try again at once.
  [[nodiscard]] bool accept_failed(const std::string& name, int error);

  // For its sessions.
  void opened();
  void closed(UniqueFd fd);
  /// Whether a client may use its connection again; counted if not.
  [[nodiscard]] bool may_keep_alive();
  boost::asio::io_context& context;
  const unsigned worker;
  const Limits limits;
  OverloadShare* const budget;  ///< null: the operator's, who is not counted
  const std::shared_ptr<MemoryBudget> memory;
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

  void close_resting();

  const std::size_t most_;  // connections
  std::int64_t look_again_at_ = 0;
  SpareDescriptors spare_descriptors_;
  std::vector<std::weak_ptr<Shard>> others_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  log::Limit full_, failing_{std::chrono::seconds(10)};
};

}  // namespace metatap::http
