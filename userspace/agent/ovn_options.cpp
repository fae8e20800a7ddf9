// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_options.hpp"

#include <algorithm>

#include "agent/ovsdb_remote.hpp"
#include "base/option_reader.hpp"

namespace metatap::agent {

namespace {

/// Members of a database, as OVSDB's own tools name them.
void read_remotes(OptionReader& read, const Option& option, std::vector<std::string>& into) {
  read.list(option, into);
  read.require(
      option.group, option.name,
      std::ranges::all_of(
          into, [](const std::string& remote) { return OvsdbRemote::parse(remote).has_value(); }),
      "unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, or several of them");
}

}  // namespace

Result<OvnOptions> OvnOptions::from(const Config& config) {
  using namespace std::chrono_literals;
  OvnOptions options;
  OptionReader read(config);
  options.local.remotes = {"unix:/var/run/openvswitch/db.sock"};
  read_remotes(read,
               {"ovs", "ovsdb_connection", "The host's Open vSwitch database: unix:, tcp: or ssl:"},
               options.local.remotes);
  read.require("ovs", "ovsdb_connection", !options.local.remotes.empty(), "a remote");
  read.text({"ovs", "ssl_key_file", "Private key for ssl:"}, options.local.private_key);
  read.text({"ovs", "ssl_cert_file", "Certificate for ssl:"}, options.local.certificate);
  read.text({"ovs", "ssl_ca_cert_file", "CA certificates for ssl:"}, options.local.ca_cert);
  read_remotes(read,
               {"ovn", "ovn_sb_connection",
                "Members of OVN's southbound database; empty: as external_ids:ovn-remote has them"},
               options.southbound.remotes);
  read.text({"ovn", "ovn_sb_private_key", "Private key for ssl:"}, options.southbound.private_key);
  read.text({"ovn", "ovn_sb_certificate", "Certificate for ssl:"}, options.southbound.certificate);
  read.text({"ovn", "ovn_sb_ca_cert", "CA certificates for ssl:"}, options.southbound.ca_cert);
  auto probe = options.local.probe;
  read.milliseconds({"ovn", "ovsdb_probe_interval",
                     "A silent server is asked for a sign of life after so long, at least a second;"
                     " 0: never"},
                    probe, 0, 3'600'000);
  auto longest = options.local.longest_back_off;
  read.seconds({"ovn", "ovsdb_retry_max_interval",
                "The longest pause between two attempts to reach a database"},
               longest, 1, 86'400);
  std::chrono::seconds down_after{75};
  read.seconds(
      {"DEFAULT", "agent_down_time", "Neutron takes an agent that was silent for so long for dead"},
      down_after, 1, 86'400);
  read.boolean(kReportToNeutron, options.report);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  for (auto* database : {&options.local, &options.southbound}) {
    database->probe = probe == 0ms ? probe : std::max(probe, decltype(probe)(1s));
    database->longest_back_off = longest;
  }
  options.local.database = "Open_vSwitch";
  options.southbound.database = "OVN_Southbound";
  // Neutron's own rule.
  options.report_within = std::clamp(down_after / 3, std::chrono::seconds(3), 10s);
  return options;
}

}  // namespace metatap::agent
