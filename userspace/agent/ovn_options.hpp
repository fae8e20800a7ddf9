// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>

#include "agent/ovsdb_remote.hpp"
#include "base/config.hpp"
#include "base/option.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// Known wherever the agent runs, so that a mistake in it does not wait for directory = ovn.
inline constexpr Option kReportToNeutron{
    "agent", "report_to_neutron",
    "With directory = ovn: the host's metadata agent is shown alive in Neutron"};

/// What neutron-ovn-metadata-agent reads from neutron_ovn_metadata_agent.ini, under the same names:
/// [ovs] ovsdb_connection, ssl_key_file, ssl_cert_file, ssl_ca_cert_file; [ovn] ovn_sb_connection,
/// ovn_sb_private_key, ovn_sb_certificate, ovn_sb_ca_cert, ovsdb_probe_interval,
/// ovsdb_retry_max_interval; [DEFAULT] agent_down_time. Our own: [agent] report_to_neutron.
struct OvnOptions {
  OvsdbOptions local;       ///< the host's Open_vSwitch database
  OvsdbOptions southbound;  ///< no remotes: the local database's external_ids:ovn-remote
  bool report = true;       ///< Neutron is told that its metadata agent is alive here
  /// A sign of life follows Neutron's question after a time by chance, at most that long: not all
  /// hosts of a cloud write at once.
  std::chrono::milliseconds report_within{10'000};
  /// Where the ports are kept for a start while OVN is away; empty: nowhere.
  std::filesystem::path memory;

  static Result<OvnOptions> from(const Config& config);
};

}  // namespace metatap::agent
