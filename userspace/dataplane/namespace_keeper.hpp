// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/core.hpp"
#include "dataplane/hooks.hpp"
#include "dataplane/metadata_namespace.hpp"
#include "dataplane/self_probe.hpp"
#include "dataplane/work_queue.hpp"
#include "metatap/origin.hpp"
#include "metatap/result.hpp"
#include "sys/change_monitor.hpp"

namespace metatap::dataplane {

/// What became of the metadata namespace, as seen at the last look.
struct NamespaceHealth {
  std::string problem;        ///< a sentence; empty: nothing is wrong
  std::uint64_t repairs = 0;  ///< things that others changed and that were put right
  std::string last_repair;
  std::chrono::system_clock::time_point repaired;  ///< when that was
};

/// Makes the metadata namespace, or goes on with the one of the process before, if that has handed
/// over its listeners; and all that leads into it and back: the listeners, mt_return, and
/// the row of mt_config by which the programs find it; and keeps them so, whatever somebody else
/// does to them. It looks when the kernel tells of a change, and each second, because the kernel
/// does not tell of all. Control thread only.
class NamespaceKeeper {
 public:
  /// All outlive this; `control` is what the reconciler's queue runs on.
  NamespaceKeeper(std::shared_ptr<Core> core, Reconciler& reconciler,
                  boost::asio::io_context& control, GuestFrontend& frontend);
  ~NamespaceKeeper();
  NamespaceKeeper(const NamespaceKeeper&) = delete;
  NamespaceKeeper& operator=(const NamespaceKeeper&) = delete;

  /// Nothing comes in yet, unless the process before let it.
  Status start();
  /// The programs find the namespace, and what comes out of it its guest. Once the slots have their
  /// owners.
  [[nodiscard]] Status lead_here();
  /// Closes the listeners; open connections end.
  void close_listeners();
  /// The gate takes no new connection from now on; the listeners still accept what it has taken.
  void turn_away();
  /// `keep`: the namespace and the way back stay for the next process to find.
  void stop(bool keep);

  /// Between start() and stop().
  [[nodiscard]] const MetadataNamespace& space() const { return *namespace_; }
  [[nodiscard]] bool owns(std::string_view device) const;
  /// mt_return's, if it is on that device.
  [[nodiscard]] Hooks* hooks_on(unsigned ifindex);
  [[nodiscard]] const Hooks* return_path() const { return return_path_ ? &*return_path_ : nullptr; }
  /// A device of the host went, or a program was taken off it.
  void device_gone(unsigned ifindex);
  /// Looks at once, and puts right what it finds: for whoever asks for health().
  void look_now();
  [[nodiscard]] const NamespaceHealth& health() const { return health_; }
  [[nodiscard]] const SelfProbe& probe() const { return probe_; }

 private:
  Status make();
  Result<MetadataNamespace> take_over();
  [[nodiscard]] Status lead_nowhere();
  [[nodiscard]] Status open_listeners(int family);
  void keep_listeners(MetadataNamespace::Upkeep& upkeep);
  Turn look();
  void report(const MetadataNamespace::Upkeep& upkeep);
  void wait_for_changes();
  void wait_for_tick();

  std::shared_ptr<Core> core_;
  GuestFrontend& frontend_;
  boost::asio::posix::stream_descriptor readable_;
  boost::asio::steady_timer tick_;
  std::optional<MetadataNamespace> namespace_;
  std::optional<sys::ChangeMonitor> changes_;
  std::optional<Hooks> return_path_;
  std::map<int, std::vector<std::string>> listeners_;  ///< names, by family
  NamespaceHealth health_;
  SelfProbe probe_;
  bool running_ = false;
  WorkQueue::Lane lane_;  ///< its one item: the namespace
};

}  // namespace metatap::dataplane
