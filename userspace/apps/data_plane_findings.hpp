// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "admin/registry.hpp"
#include "dataplane/packet_watch.hpp"
#include "dataplane/router_data_plane.hpp"
#include "dataplane/tap_data_plane.hpp"

/// What `metatap doctor` finds on the guests' side. Each looks when it is called.
namespace metatap::apps {

/// The namespace and the way through it, who else is on the devices, devices that are not steered
/// though a port wants them, guests that claim to be others or were never heard, the maps' pins.
[[nodiscard]] std::vector<admin::Finding> tap_findings(const dataplane::TapDataPlane& tap,
                                                       const dataplane::PacketWatch& packets);
/// What `/healthz` says besides, of the last minute.
[[nodiscard]] std::vector<std::string> tap_notes(const dataplane::TapDataPlane& tap);

/// What is wrong in router and DHCP namespaces, and who else is on the devices there.
[[nodiscard]] std::vector<admin::Finding> router_findings(const dataplane::RouterDataPlane& router);
[[nodiscard]] std::vector<std::string> router_notes(const dataplane::RouterDataPlane& router);
/// What of Neutron's own metadata path is still in them. Slow: some 10 ms each.
[[nodiscard]] std::vector<admin::Finding> old_path_findings(
    const dataplane::RouterDataPlane& router);
/// What neutron-ovn-metadata-agent has left on this host. Slow: it looks at all processes.
[[nodiscard]] std::vector<admin::Finding> findings_of_ovn_agent();

}  // namespace metatap::apps
