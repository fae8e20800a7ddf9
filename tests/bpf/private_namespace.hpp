// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include <fmt/format.h>

#include "dataplane/core.hpp"
#include "sys/netlink.hpp"
#include "sys/netns.hpp"

namespace metatap::testing {

/// A name nobody else uses at the same time: "mt" and four hex digits, then `suffix`.
inline std::string unique_name(const std::string& suffix = "") {
  std::random_device random;
  return fmt::format("mt{:04x}{}", random() & 0xffff, suffix);
}

/// Why tests that need the kernel cannot run here; empty: they can.
inline std::string missing_privilege() {
  if (::geteuid() != 0) {
    return "needs root";
  }
  if (auto able = dataplane::Programs::probe(); !able) {
    return able.error().message;
  }
  return {};
}

/// Moves the process into a network namespace of its own, once: devices that a test makes are
/// nobody else's, and go with the process.
inline void enter_private_namespace() {
  static const bool kEntered = ::unshare(CLONE_NEWNET) == 0;
  if (!kEntered) {
    std::abort();
  }
}

/// A pin path that is gone afterwards, also when the test fails.
class TemporaryPins {
 public:
  TemporaryPins() : path_("/sys/fs/bpf/" + unique_name("pins")) {}
  ~TemporaryPins() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryPins(const TemporaryPins&) = delete;
  TemporaryPins& operator=(const TemporaryPins&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace metatap::testing
