// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace metatap::sys {

/// While it lives the kernel's grace periods are short (/sys/kernel/rcu_expedited): attaching and
/// detaching a program waits for one, 20 ms against 0.2 ms, which counts at a thousand devices.
/// For the whole machine, so only for moments. Puts back what was there; without the right to
/// write it, nothing is different but the time.
class ExpeditedRcu {
 public:
  /// `worth_it` false: does nothing.
  explicit ExpeditedRcu(bool worth_it);
  ~ExpeditedRcu();
  ExpeditedRcu(const ExpeditedRcu&) = delete;
  ExpeditedRcu& operator=(const ExpeditedRcu&) = delete;

 private:
  bool changed_ = false;
};

}  // namespace metatap::sys
