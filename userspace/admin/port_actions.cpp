// SPDX-License-Identifier: Apache-2.0
#include "admin/port_actions.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/ascii.hpp"
#include "metatap/address.hpp"
#include "metatap/port_binding.hpp"

namespace metatap::admin {

namespace asio = boost::asio;

namespace {

using PortPtr = std::shared_ptr<const Port>;

constexpr std::size_t kIdInDevice = 11;  // Neutron's rule
constexpr std::size_t kIdFromHere = 8;   // characters of an id that are not a name by accident
constexpr std::size_t kMostNamed = 12;   // of those that fit

std::string device_of(const Port& port) {
  return port.device ? *port.device : "tap" + port.id.substr(0, kIdInDevice);
}

const Instance* instance_of(const Port& port, const Inventory& known) {
  const auto owner = known.instances.find(port.device_id);
  return owner == known.instances.end() ? nullptr : owner->second.get();
}

std::string name_of(const Instance& instance) {
  return instance.name.empty() ? instance.hostname : instance.name;
}

Json addresses_of(const Port& port) {
  Json addresses = Json::array();
  for (const auto& fixed : port.fixed_ips) {
    addresses.push_back(fixed.ip_address);
  }
  return addresses;
}

/// What `wanted` may be, parsed once.
class Wanted {
 public:
  explicit Wanted(std::string_view text)
      : text_(text), address_(Address::parse(text)), mac_(parse_mac(text)) {}

  [[nodiscard]] bool fits(const Port& port, const Inventory& known) const {
    if (port.id == text_ || device_of(port) == text_ || is_beginning(port.id) ||
        has_address(port)) {
      return true;
    }
    if (mac_ && parse_mac(port.mac_address) == mac_) {
      return true;
    }
    const auto* instance = instance_of(port, known);
    return port.device_id == text_ ||
           (instance != nullptr && !text_.empty() &&
            (instance->name == text_ || instance->display_name == text_ ||
             instance->hostname == text_));
  }

 private:
  [[nodiscard]] bool is_beginning(std::string_view id) const {
    return text_.size() >= kIdFromHere && id.starts_with(text_);
  }
  [[nodiscard]] bool has_address(const Port& port) const {
    return address_ && std::ranges::any_of(port.fixed_ips, [&](const FixedIp& fixed) {
             return Address::parse(fixed.ip_address) == address_;
           });
  }

  std::string_view text_;
  std::optional<Address> address_;
  std::optional<MacAddress> mac_;
};

/// "3f2a…  tap3f2a1b4c-5d  web  10.0.0.10"
std::string line_of(const Port& port, const Inventory& known) {
  std::string line = port.id + "  " + device_of(port);
  if (const auto* instance = instance_of(port, known)) {
    line += "  " + name_of(*instance);
  }
  for (const auto& fixed : port.fixed_ips) {
    line += "  " + fixed.ip_address;
  }
  return line;
}

Json pairs_of(const Port& port) {
  Json pairs = Json::array();
  for (const auto& pair : port.allowed_address_pairs) {
    pairs.push_back(pair.ip_address + (pair.mac_address ? " from " + *pair.mac_address : ""));
  }
  return pairs;
}

Json details_of(const Port& port, const Inventory& served, const Inventory& known) {
  Json details = port_row(port, known);
  details["admin_state_up"] = port.admin_state_up;
  details["address_policy"] = port.address_policy == AddressPolicy::learn ? "learn" : "strict";
  details["mac_policy"] = port.mac_policy == MacPolicy::any ? "any" : "own";
  if (!port.allowed_address_pairs.empty()) {
    details["allowed_address_pairs"] = pairs_of(port);
  }
  if (const auto network = served.networks.find(port.network_id);
      network != served.networks.end() && !network->second->admin_state_up) {
    details["network_admin_state_up"] = false;
  }
  return details;
}

std::shared_ptr<const Inventory> served_by(const ServedPorts& ports,
                                           const std::shared_ptr<const Inventory>& known) {
  return ports.told ? ports.told() : known;
}

asio::awaitable<Response> show_ports(const Registry& registry, InventoryService& inventory,
                                     ServedPorts ports) {
  const Json elsewhere = co_await registry.elsewhere(View::ports);
  const auto known = inventory.current();
  const auto served = served_by(ports, known);
  std::unordered_map<std::string, const Json*> facts;
  for (const auto& row : elsewhere) {
    facts.emplace(row.value("port", ""), &row);
  }
  Json rows = Json::array();
  for (const auto& [id, port] : served->ports) {
    const auto seen = facts.find(id);
    if (seen == facts.end() && !may_be_at(*port, ports.host)) {
      continue;
    }
    Json row = port_row(*port, *known);
    if (seen != facts.end()) {
      row.update(*seen->second);
      row.erase("port");
    }
    row.update(registry.port_facts(*port));
    rows.push_back(std::move(row));
  }
  co_return json_response(rows);
}

asio::awaitable<Response> show_port(const Registry& registry, Result<PortInQuestion> asked) {
  if (!asked) {
    co_return error_response(asked.error());
  }
  const Json places = co_await registry.elsewhere(View::port, asked->port->id);
  Json answer{{"port", details_of(*asked->port, *asked->served, *asked->known)}};
  answer["port"].update(registry.port_facts(*asked->port));
  answer["places"] = places.is_array() ? places : Json::array();
  co_return json_response(answer);
}

}  // namespace

std::vector<PortPtr> find_ports(const Inventory& served, const Inventory& known,
                                std::string_view text) {
  const Wanted wanted(text);
  if (const auto exact = served.ports.find(text); exact != served.ports.end()) {
    return {exact->second};
  }
  std::vector<PortPtr> found;
  for (const auto& [id, port] : served.ports) {
    if (wanted.fits(*port, known)) {
      found.push_back(port);
    }
  }
  return found;
}

Result<PortPtr> find_port(const Inventory& served, const Inventory& known, std::string_view wanted,
                          std::string_view host) {
  auto found = find_ports(served, known, wanted);
  const auto others = [&](const PortPtr& port) { return !may_be_at(*port, host); };
  if (!std::ranges::all_of(found, others)) {
    std::erase_if(found, others);
  }
  const auto quoted = "'" + std::string(wanted) + "'";
  if (found.empty()) {
    return fail(ErrorCode::not_found, "there is no port " + quoted +
                                          ": by id, device, address, MAC or name of the instance");
  }
  if (found.size() == 1) {
    return found.front();
  }
  std::string message =
      quoted + " is said of " + std::to_string(found.size()) + " ports; say one's id:";
  for (std::size_t i = 0; i < std::min(found.size(), kMostNamed); ++i) {
    message += "\n  " + line_of(*found[i], known);
  }
  return fail(ErrorCode::conflict, message + (found.size() > kMostNamed ? "\n  and others" : ""));
}

Json port_row(const Port& port, const Inventory& known) {
  Json row{{"id", port.id},
           {"device", device_of(port)},
           {"mac_address", port.mac_address},
           {"addresses", addresses_of(port)},
           {"network_id", port.network_id},
           {"device_owner", port.device_owner},
           {"device_id", port.device_id}};
  if (const auto* instance = instance_of(port, known)) {
    row["instance"] = name_of(*instance);
  }
  if (port.vlan) {
    row["vlan"] = *port.vlan;
  }
  return row;
}

Result<PortInQuestion> port_in_question(InventoryService& inventory, const ServedPorts& ports,
                                        std::string_view wanted) {
  PortInQuestion asked;
  asked.known = inventory.current();
  asked.served = served_by(ports, asked.known);
  auto port = find_port(*asked.served, *asked.known, wanted, ports.host);
  if (!port) {
    return tl::make_unexpected(std::move(port.error()));
  }
  asked.port = *std::move(port);
  return asked;
}

void register_ports(Registry& registry, InventoryService& inventory, ServedPorts ports) {
  registry.add_action("GET", "/v1/ports", [&registry, &inventory, ports](Call) {
    return show_ports(registry, inventory, ports);
  });
  registry.add_action("GET", "/v1/ports/{}", [&registry, &inventory, ports](Call call) {
    return show_port(registry, port_in_question(inventory, ports, call.parts.at(0)));
  });
}

}  // namespace metatap::admin
