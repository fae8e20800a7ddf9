// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  /// `expedite`: [dataplane] expedite_rcu.
  Reconciler(boost::asio::io_context& control, bool expedite);

  WorkQueue queue;

  /// Before a program is attached or detached in an item's turn: are there enough others?
  void expect_grace_period();
  /// Outside of the queue, for that many devices.
  [[nodiscard]] sys::ExpeditedRcu expedite_for(std::size_t devices) const;

 private:
  bool expedite_;
  std::optional<sys::ExpeditedRcu> expedited_;  ///< until the queue is idle
};

/// The programs on one device. Detaches when it goes. Move only; control thread.
class Hooks {
 public:
  struct Hook {
    std::string_view program;
    TcSide side = TcSide::ingress;
    std::string pin;  ///< name of a TCX link's pin in Programs::links_path()
  };
  /// In that order, in the namespace of the calling thread: all or none.
  static Result<Hooks> attach(const Core& core, unsigned ifindex, const std::vector<Hook>& hooks);

  Hooks(Hooks&&) noexcept = default;
  Hooks& operator=(Hooks&&) noexcept = default;
  ~Hooks();

  /// False when the device has gone, even if one of its ifindex is back.
  [[nodiscard]] bool alive() const;
  /// Leaves the programs to the next process.
  void keep();
  /// The calling thread is not in the device's namespace: filters cannot be taken away from here
  /// and go with the device.
  void leave_filters();
  [[nodiscard]] std::string_view kind() const;  ///< "tcx" or "clsact"

 private:
  Hooks() = default;
  std::vector<TcAttachment> attachments_;
};

/// Removes pins of devices that went while nobody looked: names that begin with one of `prefixes`
/// and are not in `live`.
void sweep_pins(const std::filesystem::path& directory,
                std::initializer_list<std::string_view> prefixes,
                const std::set<std::string>& live);

}  // namespace metatap::dataplane
