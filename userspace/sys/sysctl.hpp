// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"
#include "sys/netns.hpp"

namespace metatap::sys {

/// net.* settings of the calling thread's namespace, by path under /proc/sys:
/// "net/ipv4/tcp_fwmark_accept".
[[nodiscard]] Result<std::string> get_sysctl(std::string_view path);
Status set_sysctl(std::string_view path, std::string_view value);

/// Settings changed inside one namespace, with what was there before.
/// The control thread's; the namespace must outlive the calls, not the object.
class SysctlJournal {
 public:
  struct Entry {
    std::string path, before, after;
  };

  /// Sets a value and records the old one; does nothing when it is right already.
  Status set(const NetNamespace& where, std::string_view path, std::string_view value);
  /// Puts back what is still as we left it, newest first; what somebody else changed since stays.
  Status undo(const NetNamespace& where);

  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }
  void restore(std::vector<Entry> entries) { entries_ = std::move(entries); }

 private:
  std::vector<Entry> entries_;
};

}  // namespace metatap::sys
