// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// One thing that we changed inside somebody else's namespace.
struct PlaceChange {
  enum class Kind : std::uint8_t { sysctl, local_route, address };
  Kind kind = Kind::sysctl;
  std::string what;  ///< sysctl path under /proc/sys, or an address
  std::string device;
  std::string before, after;  ///< sysctl
  bool operator==(const PlaceChange&) const = default;
};

/// What we changed in each namespace, in memory and in a file, so that it is undone even by the
/// process after the one that was killed. Namespaces are told apart by the kernel's cookie, which
/// is never used twice while the host runs. Control thread; the changing members run on a helper
/// thread inside the namespace while the control thread waits.
class PlaceJournal {
 public:
  /// Reads what an earlier process left. Without a path only memory is used.
  explicit PlaceJournal(std::filesystem::path file);

  /// Sets and records; nothing happens when it is so already.
  Status set_sysctl(std::uint64_t cookie, const std::string& path, const std::string& value);
  /// `ip route add local ADDRESS dev lo`.
  Status add_local_route(std::uint64_t cookie, sys::Netlink& netlink, unsigned lo,
                         const Address& address);
  Status add_address(std::uint64_t cookie, sys::Netlink& netlink, const sys::Link& device,
                     const Address& address);
  /// Puts back what is still as we left it, newest first; what others changed since stays.
  Status undo(std::uint64_t cookie, sys::Netlink& netlink);
  /// The namespace is gone, and all in it.
  void forget(std::uint64_t cookie);

  /// Did we make a change of that kind there?
  [[nodiscard]] bool has(std::uint64_t cookie, PlaceChange::Kind kind, std::string_view what) const;
  [[nodiscard]] const std::vector<PlaceChange>& changes(std::uint64_t cookie) const;

 private:
  void record(std::uint64_t cookie, PlaceChange change);
  void rewrite();

  std::filesystem::path file_;
  UniqueFd out_;  ///< append; opened with the first line
  std::size_t lines_ = 0;
  std::map<std::uint64_t, std::vector<PlaceChange>> changes_;
};

/// The number that the kernel gave the calling thread's network namespace for good.
[[nodiscard]] Result<std::uint64_t> namespace_cookie();

}  // namespace metatap::dataplane
