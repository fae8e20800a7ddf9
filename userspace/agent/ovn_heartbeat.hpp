// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "agent/ovsdb_client.hpp"

namespace metatap::agent {

/// Shows Neutron that the metadata agent of this host is alive, as neutron-ovn-metadata-agent does:
/// in external_ids of the host's Chassis_Private row stand the agent's id, the bridge, and the
/// number that Neutron wrote last into SB_Global to see who follows.
///
/// What the row lacks is written whenever one looks and finds it lacking, so also after
/// ovn-controller has made the row anew. On the thread that runs the context.
class OvnHeartbeat : public std::enable_shared_from_this<OvnHeartbeat> {
 public:
  struct Health {
    std::string agent_id;               ///< as `openstack network agent list` shows it
    std::optional<std::int64_t> shown;  ///< the number we know to be in the row
    std::string last_error;             ///< why the last attempt to write failed; empty: it did not
  };

  /// `southbound` outlives this. A number that follows another is written after a time by chance,
  /// at most `within`.
  OvnHeartbeat(boost::asio::io_context& context, OvsdbClient& southbound, std::string chassis,
               std::chrono::milliseconds within);

  /// To be called when the database or the bridge's name may have changed.
  void look(const std::string& bridge);
  [[nodiscard]] const Health& health() const { return health_; }

 private:
  /// What the row is to get; empty when it has all, or is not there.
  [[nodiscard]] nlohmann::json lacking();
  void look_in(std::chrono::milliseconds pause);
  void write(const nlohmann::json& entries);

  OvsdbClient& southbound_;
  const std::string chassis_;
  std::string bridge_;
  const std::chrono::milliseconds within_;
  boost::asio::steady_timer pause_;
  bool waiting_ = false;  ///< for the pause's end or for the answer to what was written
  bool paused_ = false;   ///< the pause before this number is over
  Health health_;
};

/// The id of the metadata agent of that chassis: the same for every process that computes it.
[[nodiscard]] std::string ovn_agent_id(std::string_view chassis);

}  // namespace metatap::agent
