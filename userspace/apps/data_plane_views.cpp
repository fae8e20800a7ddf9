// SPDX-License-Identifier: Apache-2.0
#include "apps/data_plane_views.hpp"

#include <chrono>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/measures.hpp"
#include "base/duration_text.hpp"

namespace metatap::apps {
namespace {

using admin::Json;
using dataplane::DeviceState;
using dataplane::PortSight;

std::string_view name_of(Path path) {
  switch (path) {
    case Path::tap:
      return "tap";
    case Path::router:
      return "router";
    case Path::dhcp:
      break;
  }
  return "dhcp";
}

/// Of a device in a namespace both: "qrouter-…/qr-…".
std::string where(const PortSight& port) {
  return port.place.empty() ? port.device : port.place + "/" + port.device;
}

std::uint64_t forwarded_of(const dataplane::SlotStatus& slot) {
  std::uint64_t sum = 0;
  for (const auto* reason : kForwarded) {
    const auto count = slot.reasons.find(reason);
    sum += count == slot.reasons.end() ? 0 : count->second;
  }
  return sum;
}

std::vector<PortSight> sights_of(const DataPlaneParts& parts, const std::string& port_id) {
  std::vector<PortSight> all;
  if (parts.tap != nullptr) {
    if (auto tap = parts.tap->sight(port_id)) {
      all.push_back(*std::move(tap));
    }
  }
  if (parts.router != nullptr) {
    for (auto& one : parts.router->sights(port_id)) {
      all.push_back(std::move(one));
    }
  }
  // One that is not plugged in here is seen at its router alone.
  if (all.size() > 1 && all.front().via == Path::tap &&
      (all.front().state == DeviceState::absent || all.front().state == DeviceState::elsewhere)) {
    all.erase(all.begin());
  }
  return all;
}

std::vector<dataplane::Sighting> strangers_of(const DataPlaneParts& parts, const PortSight& port) {
  return parts.packets == nullptr || port.owner == 0 ? std::vector<dataplane::Sighting>()
                                                     : parts.packets->sightings().of(port.owner);
}

Json row_of(const PortSight& port) {
  Json row{{"via", name_of(port.via)}, {"where", where(port)},  {"ifindex", port.ifindex},
           {"slot", port.slot},        {"attach", port.attach}, {"state", name_of(port.state)}};
  if (port.vlan != 0) {
    row["vlan"] = port.vlan;
  }
  if (port.guests != 0) {
    row["guests"] = port.guests;
  }
  if (!port.before.empty()) {
    row["before"] = port.before;
  }
  if (!port.reason.empty()) {
    row["reason"] = port.reason;
  }
  return row;
}

const dataplane::ReasonInfo* reason_named(std::string_view name) {
  for (const auto& info : dataplane::reasons()) {
    if (info.name == name) {
      return &info;
    }
  }
  return nullptr;
}

Json reasons_of(const PortSight& port) {
  Json rows = Json::array();
  for (const auto& [name, count] : port.traffic.reasons) {
    const auto* info = reason_named(name);
    rows.push_back({{"reason", name},
                    {"outcome", info == nullptr ? "" : info->outcome},
                    {"packets", count},
                    {"meaning", info == nullptr ? "" : info->text}});
  }
  return rows;
}

Json traffic_of(const mt_counter& counter) {
  return {{"packets", counter.packets},  {"bytes", counter.bytes},
          {"connections", counter.syns}, {"refused", counter.drops},
          {"answers", counter.answers},  {"answer_bytes", counter.answer_bytes}};
}

Json addresses_of(const PortSight& port) {
  Json rows = Json::array();
  for (const auto& one : port.addresses) {
    rows.push_back({{"address", one.address.link_local() ? "fe80::/64" : one.address.text()},
                    {"from", one.fixed     ? "fixed"
                             : one.learned ? "learned"
                                           : "address pair"},
                    {"answers_to", one.mac == MacAddress{} ? "" : to_string(one.mac)}});
  }
  return rows;
}

Json strangers_json(const std::vector<dataplane::Sighting>& all) {
  Json rows = Json::array();
  for (const auto& seen : all) {
    rows.push_back({{"source", seen.source.family == 0 ? "" : seen.source.text()},
                    {"mac", to_string(seen.mac)},
                    {"refused_as", dataplane::reasons()[seen.reason].name},
                    {"first_seen", seconds_of(seen.first)},
                    {"last_seen", seconds_of(seen.last)}});
  }
  return rows;
}

Json packet_json(const dataplane::Rehearsed& rehearsed) {
  const auto& info = dataplane::reasons()[rehearsed.outcome.reason];
  Json row{{"packet", name_of(rehearsed.packet.kind)},
           {"source", rehearsed.packet.source.text()},
           {"stranger", rehearsed.packet.stranger},
           {"outcome", info.outcome},
           {"reason", info.name},
           {"meaning", info.text},
           {"slot", rehearsed.outcome.slot},
           {"mark", rehearsed.outcome.mark}};
  if (rehearsed.became.family != 0) {
    row["became"] = rehearsed.became.text();
  }
  return row;
}

}  // namespace

Json port_rows(const DataPlaneParts& parts) {
  std::map<std::string, Json> rows;
  std::map<std::uint32_t, Json> traffic;
  std::map<std::uint32_t, std::uint64_t> forwarded;
  const auto count = [&](const std::vector<dataplane::SlotStatus>& slots) {
    for (const auto& slot : slots) {
      traffic.emplace(slot.slot, traffic_of(slot.counter));
      forwarded.emplace(slot.slot, forwarded_of(slot));
    }
  };
  const auto add = [&](const PortSight& port) {
    auto& row = rows[port.port_id];
    if (row.is_null() || row["state"] == name_of(DeviceState::absent)) {
      row = Json{{"port", port.port_id}};
      row.update(row_of(port));
      if (const auto its = traffic.find(port.slot); port.slot != 0 && its != traffic.end()) {
        row["traffic"] = its->second;
      }
      if (port.via == Path::tap) {
        row["forwarded_inside"] = forwarded[port.slot];
      }
    } else {
      row["also"].push_back(where(port));
    }
  };
  if (parts.tap != nullptr) {
    count(parts.tap->slots());
    for (const auto& device : parts.tap->devices()) {
      if (!device.port_id.empty()) {
        add(dataplane::sight_of(device));
      }
    }
  }
  if (parts.router != nullptr) {
    count(parts.router->slots());
    for (const auto& port : parts.router->ports()) {
      add(port);
    }
  }
  Json all = Json::array();
  for (auto& [id, row] : rows) {
    all.push_back(std::move(row));
  }
  return all;
}

Json port_details(const DataPlaneParts& parts, const std::string& port_id) {
  Json places = Json::array();
  for (const auto& port : sights_of(parts, port_id)) {
    places.push_back({{"served", row_of(port)},
                      {"traffic", traffic_of(port.traffic.counter)},
                      {"packets", reasons_of(port)},
                      {"addresses", addresses_of(port)},
                      {"strangers", strangers_json(strangers_of(parts, port))}});
  }
  return places;
}

Json explain_packets(const DataPlaneParts& parts, const std::string& port_id) {
  Json places = Json::array();
  for (const auto& port : sights_of(parts, port_id)) {
    auto& place = places.emplace_back(
        Json{{"device", row_of(port)}, {"place_id", port.place_id}, {"packets", Json::array()}});
    if (port.slot == 0) {
      continue;  // nobody's packets: they have no identity here
    }
    const auto strangers = strangers_of(parts, port);
    const auto rehearsed = port.via == Path::tap ? parts.tap->rehearse(port, strangers)
                                                 : parts.router->rehearse(port, strangers);
    if (!rehearsed) {
      place["problem"] = rehearsed.error().message;
      continue;
    }
    for (const auto& packet : *rehearsed) {
      place["packets"].push_back(packet_json(packet));
    }
    place["strangers"] = strangers_json(strangers);
  }
  return places;
}

std::string document_of(const channel::Look& look, const admin::Registry& registry,
                        const DataPlaneParts& parts) {
  if (parts.tap != nullptr) {
    parts.tap->look_now();
  }
  if (parts.router != nullptr) {
    parts.router->look_now();
  }
  Json json;
  switch (look.view) {
    case View::status:
      json = registry.status();
      break;
    case View::metrics:
      json = registry.metrics();
      break;
    case View::findings:
      json = registry.findings();
      break;
    case View::ports:
      json = port_rows(parts);
      break;
    case View::problems:
      json = registry.problems();
      break;
    case View::unready:
      json = registry.unready();
      break;
    case View::port:
      json = port_details(parts, look.about);
      break;
    case View::explain:
      json = explain_packets(parts, look.about);
      break;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void look_on(dataplane::PacketWatch* packets, const channel::Watch& watch) {
  if (packets != nullptr) {
    packets->look_on(std::chrono::milliseconds(watch.milliseconds));
  }
}

void tell(admin::TraceLog& log, const channel::Packets& packets) {
  for (const auto& one : packets.all) {
    const bool known = one.reason < dataplane::reasons().size();
    log.add({{"kind", "packet"},
             {"time", one.when},
             {"port", one.port_id},
             {"device", one.device},
             {"outcome", known ? dataplane::reasons()[one.reason].outcome : ""},
             {"reason", known ? dataplane::reasons()[one.reason].name : ""},
             {"source", one.source},
             {"length", one.length}});
  }
  log.add_lost(packets.lost);
}

channel::Packets packets_of(std::vector<dataplane::PacketSeen> seen, std::uint64_t lost) {
  channel::Packets packets{{}, lost};
  packets.all.reserve(seen.size());
  for (auto& one : seen) {
    const auto when =
        std::chrono::duration_cast<std::chrono::microseconds>(one.when.time_since_epoch());
    packets.all.push_back({when.count(), std::move(one.port_id), std::move(one.device), one.reason,
                           one.length, std::move(one.source)});
  }
  return packets;
}

}  // namespace metatap::apps
