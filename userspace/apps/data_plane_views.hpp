// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "admin/registry.hpp"
#include "admin/trace_log.hpp"
#include "channel/messages.hpp"
#include "dataplane/packet_watch.hpp"
#include "dataplane/router_data_plane.hpp"
#include "dataplane/tap_data_plane.hpp"

/// What the process with the rights says of the data plane to the one with the admin socket.
namespace metatap::apps {

/// Any of it may be null: there is no such part.
struct DataPlaneParts {
  dataplane::TapDataPlane* tap = nullptr;
  dataplane::RouterDataPlane* router = nullptr;
  const dataplane::PacketWatch* packets = nullptr;
};

/// A row for each port that the data plane knows, with `port` as its id. One that a router or DHCP
/// server of this host serves is not absent because its tap is elsewhere.
[[nodiscard]] admin::Json port_rows(const DataPlaneParts& parts);

/// All that is known of one port: `served`, `traffic`, `packets`, `addresses`, `strangers`; null:
/// nothing is.
[[nodiscard]] admin::Json port_details(const DataPlaneParts& parts, const std::string& port_id);

/// The data plane's part of `metatap explain`: `places`, each with the port's `device` there and
/// the `packets` that its guest sends first, with what the programs would do with them.
[[nodiscard]] admin::Json explain_packets(const DataPlaneParts& parts, const std::string& port_id);

/// The answer to that look, as things are at this moment, JSON as admin::Registry::Elsewhere has
/// it. `registry`: of what is shown of the data plane as a whole.
[[nodiscard]] std::string document_of(const channel::Look& look, const admin::Registry& registry,
                                      const DataPlaneParts& parts);

/// Somebody looks on; null: there are no programs that could tell.
void look_on(dataplane::PacketWatch* packets, const channel::Watch& watch);

/// Packets that the other process has told of, line by line.
void tell(admin::TraceLog& log, const channel::Packets& packets);

[[nodiscard]] channel::Packets packets_of(std::vector<dataplane::PacketSeen> seen,
                                          std::uint64_t lost);

}  // namespace metatap::apps
