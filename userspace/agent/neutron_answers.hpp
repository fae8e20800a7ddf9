// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/place.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// What Keystone and Neutron answer, taken apart and held against what was asked. No network here.
namespace metatap::agent {

/// Of Keystone's answer to a sign-in (Identity API v3, POST /v3/auth/tokens); the token itself is
/// in a header.
struct KeystoneToken {
  std::string endpoint;  ///< Neutron's URL by the catalog; empty: it names none
  /// What the clock cannot count to is its last moment. nullopt: it is not said.
  std::optional<std::chrono::system_clock::time_point> expires;
};
/// Of several endpoints that fit the first interface, the last. An empty region is any.
/// nullopt: that is no token.
[[nodiscard]] std::optional<KeystoneToken> read_token(std::string_view body,
                                                      const std::vector<std::string>& interfaces,
                                                      std::string_view region);

/// One page of Neutron's answer to GET /v2.0/ports.
struct PortPage {
  std::vector<nlohmann::json> ports;
  std::string next;  ///< path and query of the next one; empty: it is the last
};
[[nodiscard]] Result<PortPage> read_ports(std::string_view body);

/// A question that outlives the request it came from: by port, or by locator within one network or
/// router.
struct PortQuestion {
  std::string port_id, network_id, router_id;
  std::optional<Locator> locator;
};
/// The one port that Neutron answers with, as far as it says whose it is: id, network, MAC, device
/// and project. `networks`: in which it may be, unless it was
/// asked for by its id. ErrorCode::not_found: none, several, or nobody's. ErrorCode::unavailable:
/// it is not what was asked for; an answer to another question, or of a server that does not know a
/// filter, must not become somebody's identity.
[[nodiscard]] Result<Port> port_in(const std::vector<nlohmann::json>& ports,
                                   const PortQuestion& question,
                                   const std::vector<std::string>& networks);

}  // namespace metatap::agent
