// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "sys/netns.hpp"

namespace metatap::testing {

/// Runs `test` on a thread with network and mount namespaces of its own, in which no network
/// namespace has a name: what it makes is nobody else's, and goes with the thread. False: this
/// process may not, and `test` was not run.
template <class Test>
bool in_own_namespaces(Test&& test) {
  const std::string names(sys::kNamedNamespaces);
  ::mkdir(names.c_str(), 0755);
  bool entered = false;
  std::thread([&] {
    entered = ::geteuid() == 0 && ::unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
              ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
              ::mount("names", names.c_str(), "tmpfs", 0, nullptr) == 0;
    if (entered) {
      test();
    }
  }).join();
  return entered;
}

}  // namespace metatap::testing
