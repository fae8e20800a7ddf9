// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/core.hpp"
#include "dataplane/tc_attachment.hpp"
#include "dataplane/work_queue.hpp"
#include "metatap/result.hpp"
#include "sys/expedited_rcu.hpp"

namespace metatap::dataplane {

/// The work queue of the data plane, and short grace periods of the kernel while many items of it
/// attach or detach programs.
class Reconciler {
 public:
  /// Puts the switch back first, should a process have been killed while it was on.
  Reconciler(boost::asio::io_context& control, sys::RcuSwitch rcu);

  WorkQueue queue;

  /// Before a program is attached or detached in an item's turn: are there enough others?
  void expect_grace_period();
  /// Outside of the queue, for that many devices.
  [[nodiscard]] sys::ExpeditedRcu expedite_for(std::size_t devices) const;

 private:
  const sys::RcuSwitch rcu_;
  std::optional<sys::ExpeditedRcu> expedited_;  ///< until the queue is idle
};

/// Who deleted the qdisc may be about to make it anew (Open vSwitch, libvirt and Neutron do, to
/// change a bandwidth limit), and would fail if ours were there already.
inline constexpr std::chrono::milliseconds kQdiscIsTheirs{500};

/// The programs on one device, first in their chains if others let them. Detaches when it goes.
/// Move only; control thread, or one in the device's namespace that it waits for.
class Hooks {
 public:
  using Standing = TcAttachment::Standing;
  struct Hook {
    std::string_view program;
    TcSide side = TcSide::ingress;
    std::string pin;  ///< name of a TCX link's pin in Programs::links_path()
  };
  /// In that order, in the namespace of the calling thread: all or none. `device` is for the log.
  static Result<Hooks> attach(const Core& core, std::string_view device, unsigned ifindex,
                              const std::vector<Hook>& hooks);

  Hooks(Hooks&&) noexcept = default;
  Hooks& operator=(Hooks&&) noexcept = default;
  ~Hooks();

  /// Looks at the chains, gets ahead of who got ahead of us and puts back a filter that was taken
  /// away (TcAttachment::look). Says in the log what is new. `patience`: how long a qdisc that
  /// somebody deleted is theirs to make anew; until then Standing::bare.
  Standing look(std::string_view device, std::chrono::milliseconds patience = {});
  /// As of the last look: programs and filters of others that come before ours.
  [[nodiscard]] std::vector<std::string> before() const;
  /// Whom we overtook last, and when.
  [[nodiscard]] std::optional<Overtaking> overtaken() const;
  /// A sentence, where it may not be our programs that get the packets.
  [[nodiscard]] std::string problem() const;
  /// Leaves the programs to the next process.
  void keep();
  /// The calling thread is not in the device's namespace: filters cannot be taken away from here
  /// and go with the device.
  void leave_filters();
  /// "tcx", "clsact", or empty while a filter is missing.
  [[nodiscard]] std::string_view kind() const;

 private:
  using Clock = std::chrono::steady_clock;
  Hooks() = default;
  [[nodiscard]] std::string after_whom() const;

  std::vector<TcAttachment> attachments_;
  /// A filter is missing; from then on its qdisc may be of our making.
  std::optional<Clock::time_point> make_from_;
  std::string told_;  ///< the last after_whom() in the log
};

/// Removes pins of devices that went while nobody looked: names that begin with one of `prefixes`
/// and are not in `live`.
void sweep_pins(const std::filesystem::path& directory,
                std::initializer_list<std::string_view> prefixes,
                const std::set<std::string>& live);

}  // namespace metatap::dataplane
