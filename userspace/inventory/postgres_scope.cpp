// SPDX-License-Identifier: Apache-2.0
#include "inventory/postgres_scope.hpp"

#include <algorithm>
#include <tuple>

namespace metatap::postgres {
namespace {

/// A commit that changes more than this concerns everybody: looking for hosts would take longer.
constexpr std::size_t kTooMany = 200;

/// Of ports with these ids ($1), of these instances or routers ($2), on these networks ($3).
constexpr auto kConcerned = R"(
    WITH named AS (
      SELECT * FROM metatap_port WHERE id = ANY ($1::text[])
      UNION SELECT * FROM metatap_port WHERE device = ANY ($2::text[]) AND device <> ''),
    touched AS (
      SELECT * FROM named
      UNION SELECT p.* FROM (SELECT unnest($3::text[]) AS network
                             UNION SELECT network FROM named WHERE role = 'server') n
                       JOIN metatap_port p ON p.network = n.network),
    mates AS (
      SELECT * FROM touched
      UNION SELECT p.* FROM touched t JOIN metatap_port p ON p.device = t.device AND p.device <> ''
                       WHERE t.role = 'guest'),
    servers AS (
      SELECT p.* FROM (SELECT DISTINCT network FROM mates) m
                 JOIN metatap_port p ON p.network = m.network AND p.role = 'server')
    SELECT host FROM mates WHERE host <> '' OR role = 'guest'
    UNION SELECT next_host FROM mates WHERE next_host <> ''
    UNION SELECT host FROM servers WHERE host <> ''
    UNION SELECT p.host FROM servers s JOIN metatap_port p ON p.device = s.device AND p.device <> ''
                        WHERE p.role = 'server' AND p.host <> '')";

auto relations_of(const Port& port) {
  return std::tie(port.host, port.next_host, port.network_id, port.device_id, port.device_owner);
}

}  // namespace

const char* const kNeededPorts = R"(
    WITH here AS (
      SELECT * FROM metatap_port WHERE host = $1 AND role <> 'other'
      UNION SELECT * FROM metatap_port WHERE next_host = $1 AND next_host <> '' AND role = 'guest'
      UNION SELECT * FROM metatap_port WHERE host = '' AND role = 'guest'),
    served AS (
      SELECT network FROM here WHERE role = 'server'
      UNION SELECT p.network FROM here h JOIN metatap_port p
            ON p.device = h.device AND p.device <> '' AND p.role = 'server'
            WHERE h.role = 'server'),
    guests AS (
      SELECT id, network, device FROM here WHERE role = 'guest'
      UNION SELECT p.id, p.network, p.device FROM served s JOIN metatap_port p
            ON p.network = s.network AND p.role = 'guest'),
    mates AS (
      SELECT * FROM guests
      UNION SELECT p.id, p.network, p.device FROM guests g JOIN metatap_port p
            ON p.device = g.device AND p.device <> ''),
    networks AS (SELECT network FROM mates UNION SELECT network FROM served),
    needed AS (
      SELECT * FROM mates
      UNION SELECT p.id, p.network, p.device FROM networks n JOIN metatap_port p
            ON p.network = n.network AND p.role = 'server'))";

bool moves_the_scope(const Inventory& held, const Inventory& now, std::string_view kind,
                     std::string_view id) {
  if (kind == "ports") {
    const Port *before = get(held.ports, id), *after = get(now.ports, id);
    return before == nullptr || after == nullptr ? before != after
                                                 : relations_of(*before) != relations_of(*after);
  }
  if (kind == "subnets") {
    const Subnet *before = get(held.subnets, id), *after = get(now.subnets, id);
    return after != nullptr && (before == nullptr || before->network_id != after->network_id);
  }
  // What comes may be another host's; what was needed here stays so.
  const auto comes = [&](const auto& before, const auto& after) {
    return get(before, id) == nullptr && get(after, id) != nullptr;
  };
  return comes(held.instances, now.instances) || comes(held.networks, now.networks) ||
         comes(held.routers, now.routers);
}

void prepare_concerned(pqxx::connection& connection) {
  connection.prepare("concerned", kConcerned);
}

void add_concerned(pqxx::transaction_base& work, const InventoryChange& change, Hosts& hosts) {
  const auto count = change.ports.size() + change.instances.size() + change.networks.size() +
                     change.subnets.size() + change.routers.size();
  if (!hosts || count > kTooMany) {
    hosts = std::nullopt;
    return;
  }
  auto devices = change.instances;
  devices.insert(devices.end(), change.routers.begin(), change.routers.end());
  auto networks = change.networks;
  for (const auto& id : change.subnets) {
    for (const auto& side : {change.before, change.after}) {
      if (const Subnet* subnet = get(side->subnets, id)) {
        networks.push_back(subnet->network_id);
      }
    }
  }
  const auto rows = work.exec_prepared("concerned", array_of(change.ports), array_of(devices),
                                       array_of(networks));
  for (const auto& row : rows) {
    if (row[0].size() == 0) {  // a guest that is said to be nowhere is held everywhere
      hosts = std::nullopt;
      return;
    }
    hosts->insert(row[0].as<std::string>());
  }
}

std::string array_of(const std::vector<std::string>& items) {
  std::string text = "{";
  for (const auto& item : items) {
    text += text.size() == 1 ? "\"" : ",\"";
    for (const char c : item) {
      if (c == '"' || c == '\\') {
        text += '\\';
      }
      text += c;
    }
    text += '"';
  }
  return text + "}";
}

std::string channel_of(std::string_view host) {
  // PostgreSQL's names are short. Two hosts that share one are told of each other's changes, too.
  constexpr std::size_t kLongest = 50;
  std::string name = "metatap_at_" + std::string(host.substr(0, kLongest));
  std::ranges::replace_if(
      name, [](unsigned char c) { return c <= ' ' || c >= 0x7f || c == '"' || c == '\\'; }, '_');
  return name;
}

}  // namespace metatap::postgres
