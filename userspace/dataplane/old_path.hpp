// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/router_plan.hpp"
#include "metatap/result.hpp"

/// What of Neutron's own metadata path is still installed in a namespace. Only looks.
namespace metatap::dataplane {

struct OldPath {
  std::string name;  ///< of the namespace
  PlaceName place;
  std::vector<std::string> rules;      ///< "iptables nat: -A … -j REDIRECT --to-ports 9697"
  std::vector<std::string> processes;  ///< "haproxy, pid 4711"
  std::vector<std::string> listeners;  ///< "169.254.169.254:80", "*:9697"

  /// Would a guest be served by it if we were not there?
  [[nodiscard]] bool serves() const { return !processes.empty() || !listeners.empty(); }
  /// The option that turns it off, and what to mind; empty when there is nothing to turn off.
  [[nodiscard]] std::string advice() const;
};

/// A namespace in which neutron-ovn-metadata-agent serves a network.
struct OvnNamespace {
  std::string name;  ///< "ovnmeta-" and the network's id
  std::string network_id;
  std::string device;  ///< the end of its veth pair that is in Open vSwitch's bridge
  std::vector<std::string> processes;  ///< "haproxy, pid 4711"
};
/// All there are on this host.
[[nodiscard]] std::vector<OvnNamespace> ovn_namespaces();

/// haproxy processes by the inode of their network namespace.
[[nodiscard]] std::multimap<ino_t, pid_t> haproxies();

/// In the calling thread's namespace. Runs iptables-save and ip6tables-save (some milliseconds).
[[nodiscard]] OldPath look_at_old_path(std::string name, PlaceName place);

/// Those lines of `iptables-save` that belong to the metadata path, with their table.
[[nodiscard]] std::vector<std::string> metadata_rules(std::string_view program,
                                                      std::string_view saved);
/// Those of /proc/net/tcp or tcp6 that listen for metadata requests, but not our own.
[[nodiscard]] std::vector<std::string> metadata_listeners(std::string_view table);

}  // namespace metatap::dataplane
