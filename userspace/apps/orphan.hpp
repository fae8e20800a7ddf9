// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "channel/link.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::apps {

/// What a worker has for the supervisor that comes after its own.
struct Estate {
  UniqueFd door;  ///< channel::Door, listened on
  std::map<std::string, UniqueFd> listeners;
};

/// A worker whose supervisor has gone. It serves on by what it has, waits at its door for the next
/// supervisor, gives that one the listening sockets, and goes on until it is told to drain: when
/// another worker serves. Without one it does so for a while. Nobody writes the table of callers
/// meanwhile, so whoever hears that ports have changed ends it. Control thread.
class Orphan {
 public:
  /// Called once: accept no more, finish what is there within that time (nullopt: the usual one),
  /// and end.
  using Drain = std::function<void(std::optional<std::chrono::milliseconds> limit)>;

  Orphan(boost::asio::io_context& control, Estate estate, std::chrono::seconds patience,
         Drain drain);
  ~Orphan();
  Orphan(const Orphan&) = delete;
  Orphan& operator=(const Orphan&) = delete;

  /// It has come to an end for that reason.
  void give_up(std::string_view why);

 private:
  void wait_for_successor();
  void wait_for_the_end();
  void meet(channel::Socket socket);
  Status take(const channel::Frame& frame);
  Status hand_over(const channel::Succeed& succeed);
  void lose(const Error& error);
  void end(std::optional<std::chrono::milliseconds> limit);

  boost::asio::io_context& control_;
  Estate estate_;
  Drain drain_;
  const std::chrono::steady_clock::time_point until_;
  boost::asio::posix::stream_descriptor knocks_;
  boost::asio::steady_timer timer_;
  std::unique_ptr<channel::Link> successor_;
  bool handed_ = false;  ///< to a successor that lives
};

}  // namespace metatap::apps
