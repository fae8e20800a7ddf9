// SPDX-License-Identifier: Apache-2.0
#include "importer/compose.hpp"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "base/json_text.hpp"
#include "inventory/document.hpp"

namespace metatap::importer {
namespace {

/// The host's device of a port, by Neutron's rule.
std::string tap_of(const std::string& port) {
  constexpr std::size_t kDigits = 11;
  return "tap" + port.substr(0, kDigits);
}

/// Which port of a trunk another one is.
struct Subport {
  const Json* parent = nullptr;
  Json vlan;
};

std::map<std::string, Subport> subports_in(const Table& ports) {
  std::map<std::string, Subport> subports;
  for (const auto& [id, port] : ports) {
    for (const auto& sub : member(member(port, "trunk_details"), "sub_ports")) {
      if (text_of(sub, "segmentation_type") == "vlan") {
        subports.insert_or_assign(text_of(sub, "port_id"),
                                  Subport{&port, member(sub, "segmentation_id")});
      }
    }
  }
  return subports;
}

void put_in_trunk(const Subport& place, Json& port) {
  port["device"] = tap_of(text_of(*place.parent, "id"));
  port["vlan"] = place.vlan;
  if (text_of(port, "device_id").empty()) {
    port["device_id"] = text_of(*place.parent, "device_id");
  }
}

/// Whether its network, and the subnets of its addresses, are there.
bool refers_to_what_is_there(const Json& port, const Tables& tables) {
  const auto& addresses = member(port, "fixed_ips");
  return tables.networks.contains(text_of(port, "network_id")) &&
         std::ranges::all_of(addresses, [&](const Json& address) {
           const auto subnet = tables.subnets.find(text_of(address, "subnet_id"));
           return subnet != tables.subnets.end() &&
                  tables.networks.contains(text_of(subnet->second, "network_id"));
         });
}

/// The place of a MAC among those that Nova has of a server; behind all where it has it not yet.
std::size_t place_of(const Json& port, const Table& servers) {
  const auto server = servers.find(text_of(port, "device_id"));
  if (server == servers.end()) {
    return 0;
  }
  const auto& macs = member(server->second, "addresses");
  const auto found = std::ranges::find(macs, member(port, "mac_address"));
  return static_cast<std::size_t>(found - macs.begin());
}

Json ports_of(const Tables& tables, std::size_t& left_out) {
  const auto subports = subports_in(tables.ports);
  using Place = std::tuple<std::string, std::size_t, std::string>;  // device, place, id
  std::vector<std::pair<Place, Json>> ordered;
  for (const auto& [id, stored] : tables.ports) {
    if (!refers_to_what_is_there(stored, tables)) {
      ++left_out;
      continue;
    }
    Json port = stored;
    port.erase("trunk_details");
    if (const auto place = subports.find(id); place != subports.end()) {
      put_in_trunk(place->second, port);
    }
    Place place{text_of(port, "device_id"), place_of(port, tables.servers), id};
    ordered.emplace_back(std::move(place), std::move(port));
  }
  std::ranges::sort(ordered, {}, &std::pair<Place, Json>::first);
  Json ports = Json::array();
  for (auto& [place, port] : ordered) {
    ports.push_back(std::move(port));
  }
  return ports;
}

template <class F>
Json array_of(const Table& table, F&& wanted) {
  Json array = Json::array();
  for (const auto& [id, object] : table) {
    if (wanted(object)) {
      array.push_back(object);
    }
  }
  return array;
}

}  // namespace

Composed compose(const Tables& tables) {
  Composed made;
  auto& counts = made.counts;
  const auto all = [](const Json&) { return true; };
  Json document{{"format", kDocumentFormat}};
  const auto put = [&](const char* name, Json objects, std::size_t& count) {
    count = objects.size();
    document[name] = std::move(objects);
  };
  put("networks", array_of(tables.networks, all), counts.networks);
  put("subnets",
      array_of(tables.subnets,
               [&](const Json& subnet) {
                 return tables.networks.contains(text_of(subnet, "network_id"));
               }),
      counts.subnets);
  put("routers", array_of(tables.routers, all), counts.routers);
  put("ports", ports_of(tables, counts.left_out), counts.ports);
  counts.left_out += tables.subnets.size() - counts.subnets;
  Json servers = array_of(tables.servers, all);
  for (auto& server : servers) {
    server.erase("addresses");
  }
  put("servers", std::move(servers), counts.servers);
  made.text = document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  return made;
}

}  // namespace metatap::importer
