// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "apps/daemon.hpp"
#include "channel/door.hpp"
#include "channel/link.hpp"
#include "dataplane/learned_addresses.hpp"
#include "metatap/result.hpp"
#include "sys/child.hpp"

namespace metatap::apps {

/// One worker as the supervisor sees it: the process, the channel to it, and who answers its
/// questions. Killed when this goes, unless it was let go of. Control thread.
class WorkerProcess {
 public:
  using Id = std::uint64_t;
  /// Called with the worker's number; it may go meanwhile.
  struct Told {
    std::function<Status(Id, channel::Frame)> frame;
    std::function<void(Id, const sys::Child::End&)> ended;
  };

  /// Runs this program again, or what has taken its place on disk. `folder` is where its door is.
  static Result<std::unique_ptr<WorkerProcess>> start(
      Id id, boost::asio::io_context& control, const DaemonOptions& options,
      const std::filesystem::path& folder, const std::shared_ptr<dataplane::SlotTable>& slots,
      Told told);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  [[nodiscard]] Id id() const { return id_; }
  [[nodiscard]] pid_t pid() const { return child_.pid(); }
  [[nodiscard]] channel::Link& link() { return link_; }
  [[nodiscard]] std::chrono::steady_clock::duration age() const {
    return std::chrono::steady_clock::now() - began_;
  }
  /// Since it last said anything.
  [[nodiscard]] std::chrono::steady_clock::duration silence() const {
    return std::chrono::steady_clock::now() - heard_;
  }
  [[nodiscard]] std::optional<sys::Child::End> ended() { return child_.ended(); }

  /// It is the one whom the next supervisor finds, should this one go.
  void open_door();
  /// It goes on without us.
  void let_go_of_process() { child_.let_go(); }

  /// The answer to its hello.
  void welcome(const dataplane::CallerTable& callers, std::uint64_t restarts);
  /// It said what cannot be believed, or does not do what it is told.
  void kill() { child_.kill(); }

 private:
  WorkerProcess(Id id, boost::asio::io_context& control, sys::Child child, channel::Socket socket,
                channel::Door door, std::unique_ptr<dataplane::LearnedAddressServer> learned,
                Told told);
  void watch();
  /// The channel is of no use any more, and so is the process.
  void let_go(const Error& why);

  const Id id_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point heard_ = began_;
  sys::Child child_;
  channel::Door door_;
  std::unique_ptr<dataplane::LearnedAddressServer> learned_;
  Told told_;
  channel::Link link_;
  boost::asio::posix::stream_descriptor process_;
  boost::asio::steady_timer last_words_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace metatap::apps
