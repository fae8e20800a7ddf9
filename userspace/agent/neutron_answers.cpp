// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_answers.hpp"

#include <algorithm>

#include "base/json_text.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;

bool is_asked_for(const json& port, const PortQuestion& question,
                  const std::vector<std::string>& networks) {
  if (!question.port_id.empty()) {
    return text_of(port, "id") == question.port_id;
  }
  if (!question.locator ||
      std::ranges::find(networks, text_of(port, "network_id")) == networks.end()) {
    return false;
  }
  if (question.locator->is_mac()) {
    return Locator::of_mac(text_of(port, "mac_address")) == question.locator;
  }
  const auto& addresses = member(port, "fixed_ips");
  return addresses.is_array() && std::ranges::any_of(addresses, [&](const json& address) {
           return Locator::of_fixed_ip(text_of(address, "ip_address")) == question.locator;
         });
}

}  // namespace

Result<Port> port_in(const std::vector<json>& ports, const PortQuestion& question,
                     const std::vector<std::string>& networks) {
  if (!std::ranges::all_of(
          ports, [&](const json& port) { return is_asked_for(port, question, networks); })) {
    return fail(ErrorCode::unavailable, "Neutron's answer is not to our question");
  }
  if (ports.size() != 1) {
    return fail(ErrorCode::not_found,
                ports.empty() ? "no port is there" : "several ports claim the address");
  }
  const auto& told = ports.front();
  Port port;
  port.id = text_of(told, "id");
  port.network_id = text_of(told, "network_id");
  port.mac_address = text_of(told, "mac_address");
  port.device_id = text_of(told, "device_id");
  port.project_id = text_of(told, "project_id");
  if (port.project_id.empty()) {
    port.project_id = text_of(told, "tenant_id");
  }
  if (port.device_id.empty()) {
    return fail(ErrorCode::not_found, "the port belongs to no instance");
  }
  return port;
}

}  // namespace metatap::agent
