// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "metatap/result.hpp"

namespace metatap::sys {

/// How the kernel's short grace periods are switched on for a moment (/sys/kernel/rcu_expedited):
/// attaching and detaching a program waits for one, 20 ms against 0.2 ms, which counts at a
/// thousand devices. The switch is the whole machine's.
struct RcuSwitch {
  bool allowed = true;  ///< [dataplane] expedite_rcu
  /// Says what it stood at, for as long as it is changed. Its directory is another's to make.
  std::filesystem::path record;
  std::filesystem::path file = "/sys/kernel/rcu_expedited";

  /// After a process that was killed in such a moment: puts back what it found.
  [[nodiscard]] Status put_back() const;
};

/// Short grace periods while it lives. Without the right to switch them on, or to record that it
/// did, nothing is different but the time.
class ExpeditedRcu {
 public:
  /// `worth_it` false: does nothing. The switch outlives this.
  ExpeditedRcu(const RcuSwitch& rcu, bool worth_it);
  ~ExpeditedRcu();
  ExpeditedRcu(const ExpeditedRcu&) = delete;
  ExpeditedRcu& operator=(const ExpeditedRcu&) = delete;

 private:
  const RcuSwitch& rcu_;
  bool changed_ = false;
};

}  // namespace metatap::sys
