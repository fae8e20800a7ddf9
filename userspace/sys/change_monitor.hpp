// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::sys {

/// Tells that something about the devices, addresses, routes, neighbours or per-device settings of
/// one namespace has changed, not what: whoever is told looks. Of the namespace of the thread that
/// opened it. Non-blocking; give fd() to a posix::stream_descriptor and drain when readable.
class ChangeMonitor {
 public:
  static Result<ChangeMonitor> open();

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Takes what waits; a lost event is an event.
  void drain();

 private:
  explicit ChangeMonitor(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace metatap::sys
