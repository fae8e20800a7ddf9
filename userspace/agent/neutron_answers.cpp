// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_answers.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "agent/json_text.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using Time = std::chrono::system_clock::time_point;

/// "2026-01-02T03:04:05.000000Z"
std::optional<Time> parse_time(const std::string& text) {
  std::tm time{};
  if (strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time) == nullptr) {
    return std::nullopt;
  }
  // The clock counts nanoseconds, until the year 2262.
  constexpr auto kLast = std::chrono::floor<std::chrono::seconds>(Time::max().time_since_epoch());
  const std::chrono::seconds since(timegm(&time));
  return Time(std::clamp(since, std::chrono::seconds(0), kLast));
}

/// Path and query of a link that Neutron gave for the next page.
std::string origin_form(const std::string& href) {
  const auto scheme = href.find("://");
  if (scheme == std::string::npos) {
    return href;
  }
  const auto path = href.find('/', scheme + 3);
  return path == std::string::npos ? "/" : href.substr(path);
}

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

std::optional<KeystoneToken> read_token(std::string_view body,
                                        const std::vector<std::string>& interfaces,
                                        std::string_view region) {
  const auto answer = json_object(body);
  if (!answer || !member(*answer, "token").is_object()) {
    return std::nullopt;
  }
  const auto& token = member(*answer, "token");
  KeystoneToken read{.endpoint = {}, .expires = parse_time(text_of(token, "expires_at"))};
  for (const auto& interface : interfaces) {
    for (const auto& service : member(token, "catalog")) {
      if (!read.endpoint.empty() || text_of(service, "type") != "network") {
        continue;
      }
      for (const auto& endpoint : member(service, "endpoints")) {
        auto its_region = text_of(endpoint, "region_id");
        its_region = its_region.empty() ? text_of(endpoint, "region") : its_region;
        if (text_of(endpoint, "interface") == interface &&
            (region.empty() || region == its_region)) {
          read.endpoint = text_of(endpoint, "url");
        }
      }
    }
  }
  return read;
}

Result<PortPage> read_ports(std::string_view body) {
  const auto answer = json_object(body);
  if (!answer) {
    return fail(ErrorCode::unavailable, "Neutron's answer is not a JSON object");
  }
  const auto& ports = member(*answer, "ports");
  if (!ports.is_array()) {
    return fail(ErrorCode::unavailable, "Neutron's answer has no ports");
  }
  PortPage page{.ports = ports.get<std::vector<json>>(), .next = {}};
  for (const auto& link : member(*answer, "ports_links")) {
    if (page.next.empty() && text_of(link, "rel") == "next") {
      page.next = origin_form(text_of(link, "href"));
    }
  }
  return page;
}

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
