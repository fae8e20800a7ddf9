// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/place.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// What Neutron answers, held against what was asked. No network here.
namespace metatap::agent {

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
