// SPDX-License-Identifier: Apache-2.0
#include "apps/views.hpp"

#include <unistd.h>

#include <array>
#include <map>
#include <string>

#include "apps/measures.hpp"
#include "dataplane/old_path.hpp"

namespace metatap::apps {
namespace {

using admin::Json;
using admin::Metrics;

Json device_row(const dataplane::DeviceStatus& device) {
  Json row{{"device", device.name},         {"ifindex", device.ifindex}, {"vlan", device.vlan},
           {"port", device.port_id},        {"slot", device.slot},       {"attach", device.attach},
           {"state", name_of(device.state)}};
  if (!device.reason.empty()) {
    row["reason"] = device.reason;
  }
  if (!device.before.empty()) {
    row["before"] = device.before;
  }
  return row;
}

/// All of a list of counters.def, as fields of `row`.
template <class Counts>
void show_counts(Json& row, const Counts& counts) {
  each(counts,
       [&](const CounterInfo& info, std::uint64_t value) { row[std::string(info.name)] = value; });
}

/// How a port's guest may ask, and how it did.
Json access_row(const proxy::AccessStatus& status) {
  Json row{{"tokens", proxy::name_of(status.access.tokens)},
           {"required_now", status.required},
           {"boot_window_left_s", status.window_left.count()},
           {"first_token_ago_s", status.first_token ? Json(status.first_token->count()) : Json()}};
  show_counts(row, status.counts);
  return row;
}

std::uint64_t forwarded_of(const dataplane::SlotStatus& slot) {
  std::uint64_t sum = 0;
  for (const auto* reason : kForwarded) {
    const auto count = slot.reasons.find(reason);
    sum += count == slot.reasons.end() ? 0 : count->second;
  }
  return sum;
}

constexpr auto kFirstAdvice =
    "a program that is first should pass on what is not its own (TCX_NEXT, TC_ACT_UNSPEC)";

/// Of the ports whose guests used tokens or were refused for the lack of one most often: no more
/// than a Prometheus bears.
template <class Ports>
void count_most_active(Metrics& metrics, const Ports& ports) {
  std::vector<std::pair<std::uint64_t, const typename Ports::value_type*>> active;
  for (const auto& port : ports) {
    std::uint64_t sum = 0;
    each(port.second.counts, [&](const CounterInfo&, std::uint64_t value) { sum += value; });
    active.emplace_back(sum, &port);
  }
  const auto most = std::min(kBusiestPorts, active.size());
  std::ranges::partial_sort(active, active.begin() + static_cast<std::ptrdiff_t>(most),
                            std::ranges::greater(), [](const auto& one) { return one.first; });
  for (std::size_t i = 0; i < most; ++i) {
    metrics.all("port_access", active[i].second->second.counts,
                {{"port", active[i].second->first}});
  }
}

/// What is wrong in namespaces, and what of Neutron's own metadata path is still in them.
std::vector<admin::Finding> router_findings(const dataplane::RouterDataPlane& router) {
  using Severity = admin::Finding::Severity;
  using dataplane::DeviceState;
  using dataplane::PlaceState;
  constexpr std::size_t kLookedAt = 50;
  std::vector<admin::Finding> findings;
  std::size_t unknown = 0;
  for (const auto& place : router.places()) {
    if (place.state == PlaceState::unknown) {
      ++unknown;
    } else if (place.state == PlaceState::down) {
      findings.push_back({Severity::warning, place.name, place.reason, ""});
    } else if (place.state == PlaceState::denied || place.state == PlaceState::failed) {
      findings.push_back({Severity::error, place.name, place.reason, ""});
    }
    for (const auto& device : place.devices) {
      if (device.state != DeviceState::steered && device.state != DeviceState::disabled) {
        findings.push_back({Severity::warning, place.name + "/" + device.name, device.reason, ""});
      } else if (!device.before.empty()) {
        findings.push_back(
            {Severity::warning, place.name + "/" + device.name, device.reason, kFirstAdvice});
      }
    }
  }
  if (unknown != 0) {
    findings.push_back({Severity::warning, "namespaces",
                        std::to_string(unknown) +
                            " router or DHCP namespaces are not in the inventory and not served",
                        "metatap status names them; metatap apply makes them known"});
  }
  const auto join = [](std::string text, const std::vector<std::string>& parts) {
    for (const auto& part : parts) {
      text += (text.ends_with(": ") ? "" : "; ") + part;
    }
    return text;
  };
  for (const auto& old : router.old_paths(kLookedAt)) {
    if (!old.serves() && old.rules.empty()) {
      continue;
    }
    std::string message = "Neutron's own path is still there";
    if (old.serves()) {
      message = join(message + ", served by: ", old.processes);
      message = join(old.processes.empty() ? message : message + "; ", old.listeners);
    }
    if (!old.rules.empty()) {
      message = join(message + "; rules: ", old.rules);
    }
    findings.push_back({Severity::ok, old.name, std::move(message), old.advice()});
  }
  if (router.progress().served > kLookedAt) {
    findings.push_back({Severity::ok, "namespaces",
                        "only " + std::to_string(kLookedAt) + " of " +
                            std::to_string(router.progress().served) +
                            " were searched for Neutron's own path",
                        ""});
  }
  return findings;
}

Json ovn_status(const agent::OvnFeed::Health& health) {
  const auto database = [](const agent::OvsdbClient::Health& its) {
    return Json{{"remote", its.remote},           {"connected", its.connected},
                {"connections", its.connections}, {"rows", its.rows},
                {"updates", its.updates},         {"last_error", its.last_error}};
  };
  Json skipped = Json::array();
  for (const auto& [port, why] : health.skipped) {
    skipped.push_back(
        {{"port", port}, {"reason", std::string(name_of(why.reason))}, {"detail", why.text}});
  }
  return Json{{"chassis", health.chassis},
              {"registered", health.registered},
              {"ports", health.ports},
              {"local", database(health.local)},
              {"southbound", database(health.southbound)},
              {"agent_id", health.report.agent_id},
              {"reported", health.report.shown ? Json(*health.report.shown) : Json()},
              {"report_error", health.report.last_error},
              {"skipped", skipped}};
}

/// Ports that cannot be served as they are in OVN.
std::vector<admin::Finding> ovn_findings(const agent::OvnFeed& ovn) {
  using Severity = admin::Finding::Severity;
  const auto health = ovn.health();
  std::vector<admin::Finding> findings;
  for (const auto& [port, why] : health.skipped) {
    findings.push_back({Severity::warning, "port " + port, "OVN's row is left out: " + why.text,
                        "neutron-ovn-db-sync-util writes it anew"});
  }
  if (!health.report.last_error.empty()) {
    findings.push_back({Severity::warning, "ovn",
                        "Neutron takes the metadata agent for dead: " + health.report.last_error,
                        "the southbound database must let this chassis write Chassis_Private"});
  }
  for (const auto& [id, port] : ovn.inventory()->ports) {
    if (const auto facts = ovn.facts(id); facts && facts->external) {
      findings.push_back({Severity::warning, "port " + id,
                          "its guest has no tap on any host (SR-IOV): it is not steered",
                          "give the guest a config drive, or keep ovnmeta-" + port->network_id +
                              ", which serves it"});
    }
  }
  return findings;
}

/// What neutron-ovn-metadata-agent has left on this host.
std::vector<admin::Finding> findings_of_ovn_agent() {
  std::vector<admin::Finding> findings;
  for (const auto& left : dataplane::ovn_namespaces()) {
    std::string what = "left by neutron-ovn-metadata-agent";
    for (const auto& process : left.processes) {
      what += ", " + process;
    }
    findings.push_back({admin::Finding::Severity::ok, left.name, what,
                        "removable once that agent is stopped and disabled, unless a port is named "
                        "here that needs it: end what runs in it, then ip netns delete " +
                            left.name + " and ovs-vsctl del-port " + left.device});
  }
  return findings;
}

/// Devices that are not steered though a port wants them, and ports whose guests claim to be
/// others.
std::vector<admin::Finding> tap_findings(const dataplane::TapDataPlane& tap) {
  using Severity = admin::Finding::Severity;
  std::vector<admin::Finding> findings;
  for (const auto& device : tap.devices()) {
    if (device.state == dataplane::DeviceState::failed) {
      findings.push_back(
          {Severity::error, device.name, "port " + device.port_id + ": " + device.reason, ""});
    } else if (device.state == dataplane::DeviceState::refused) {
      findings.push_back({Severity::warning, device.name,
                          "port " + device.port_id + ": " + device.reason,
                          "the inventory's device name or MAC is an old one"});
    }
  }
  for (const auto& chain : tap.disturbed_chains()) {
    findings.push_back(
        {Severity::warning, chain.device, chain.problem, chain.before.empty() ? "" : kFirstAdvice});
  }
  for (const auto& slot : tap.slots()) {
    for (const auto* reason : {"wrong_mac", "spoofed_v4", "spoofed_v6"}) {
      if (const auto dropped = slot.reasons.find(reason); dropped != slot.reasons.end()) {
        findings.push_back({Severity::warning, slot.device,
                            "port " + slot.port_id + ": " + std::to_string(dropped->second) +
                                " packets dropped, " + reason,
                            "the guest uses a MAC or address that its port does not have"});
      }
    }
  }
  return findings;
}

/// What `metatap ports` says of ports with a tap.
Json port_rows(const dataplane::TapDataPlane& tap) {
  std::map<std::string, std::uint64_t> forwarded;  // by port
  for (const auto& slot : tap.slots()) {
    forwarded[slot.port_id] = forwarded_of(slot);
  }
  Json rows = Json::array();
  for (const auto& device : tap.devices()) {
    if (!device.port_id.empty()) {
      auto& row = rows.emplace_back(device_row(device));
      row["forwarded_inside"] = forwarded[device.port_id];
    }
  }
  return rows;
}

}  // namespace

std::string document_of(const admin::Registry& registry, channel::View view,
                        const dataplane::TapDataPlane* tap) {
  Json json;
  switch (view) {
    case channel::View::status:
      json = registry.status();
      break;
    case channel::View::metrics:
      json = registry.metrics();
      break;
    case channel::View::findings:
      json = registry.findings();
      break;
    case channel::View::ports:
      json = tap != nullptr ? port_rows(*tap) : Json::array();
      break;
    case channel::View::problems:
      json = registry.problems();
      break;
    case channel::View::unready:
      json = registry.unready();
      break;
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void show(admin::Registry& registry, const dataplane::TapDataPlane& tap) {
  registry.add_findings([&tap] { return tap_findings(tap); });
  registry.add_status("taps", [&tap] {
    Json devices = Json::array();
    for (const auto& device : tap.devices()) {
      devices.push_back(device_row(device));
    }
    Json reasons = Json::array();
    for (const auto& reason : tap.reasons()) {
      if (reason.packets != 0) {
        reasons.push_back(
            {{"reason", reason.name}, {"outcome", reason.outcome}, {"packets", reason.packets}});
      }
    }
    const auto& space = tap.namespace_health();
    return Json{{"where", tap.where()},     {"problem", space.problem},
                {"repairs", space.repairs}, {"last_repair", space.last_repair},
                {"devices", devices},       {"reasons", reasons}};
  });
  registry.add_health("taps", [&tap] { return tap.namespace_health().problem; });
  registry.add_metrics([&tap](Metrics& metrics) {
    for (const auto& reason : tap.reasons()) {
      metrics.counter("dataplane_packets_total", "Packets by how their way through a program ended",
                      {{"reason", reason.name}, {"outcome", reason.outcome}},
                      static_cast<double>(reason.packets));
    }
    metrics.counter("namespace_repairs_total",
                    "Things in the metadata namespace that others changed and that were put right",
                    {}, static_cast<double>(tap.namespace_health().repairs));
    metrics.gauge("devices_behind_others", "Taps where somebody's program may take packets first",
                  {}, static_cast<double>(tap.disturbed_chains().size()));
    count_busiest(metrics, tap.slots());
  });
}

void show(admin::Registry& registry, const dataplane::RouterDataPlane& router) {
  registry.add_status("routers", [&router] {
    const auto progress = router.progress();
    Json places = Json::array();
    Json devices = Json::array();
    for (const auto& place : router.places()) {
      places.push_back({{"namespace", place.name},
                        {"state", name_of(place.state)},
                        {"listeners", place.listeners.size()},
                        {"devices", place.devices.size()},
                        {"reason", place.reason}});
      for (const auto& device : place.devices) {
        Json row{{"namespace", place.name},        {"device", device.name},
                 {"port", device.port_id},         {"slot", device.slot},
                 {"guests", device.ports},         {"attach", device.attach},
                 {"state", name_of(device.state)}, {"reason", device.reason}};
        if (!device.before.empty()) {
          row["before"] = device.before;
        }
        devices.push_back(std::move(row));
      }
    }
    return Json{{"namespaces", progress.namespaces},
                {"served", progress.served},
                {"pending", progress.pending},
                {"places", places},
                {"devices", devices}};
  });
  registry.add_health(
      "routers", [&router] { return router.problem(); },
      admin::Registry::Guests::served);  // but for those of one namespace
  registry.add_findings([&router] { return router_findings(router); });
  registry.add_metrics([&router](Metrics& metrics) {
    const auto progress = router.progress();
    metrics.gauge("namespaces_served", "Router and DHCP namespaces that are served", {},
                  static_cast<double>(progress.served));
    metrics.gauge("namespaces_pending", "Namespaces that have not had their turn yet", {},
                  static_cast<double>(progress.pending));
    count_busiest(metrics, router.slots());
  });
}

void show(admin::Registry& registry, ToSupervisor& supervisor) {
  registry.set_elsewhere(
      [&supervisor](admin::Registry::View view) { return supervisor.look(view); });
  registry.add_status("supervisor",
                      [&supervisor] { return Json{{"pid", supervisor.supervisor()}}; });
  registry.add_status("worker", [&supervisor] {
    return Json{{"pid", ::getpid()}, {"restarts", supervisor.restarts()}};
  });
  registry.add_metrics([&supervisor](Metrics& metrics) {
    metrics.counter("worker_restarts_total", "Workers that died and were replaced", {},
                    static_cast<double>(supervisor.restarts()));
  });
}

void show_ovn_agent(admin::Registry& registry) {
  registry.add_findings([] { return findings_of_ovn_agent(); });
}

void show(admin::Registry& registry, const agent::OvnFeed& ovn) {
  registry.add_status("ovn", [&ovn] { return ovn_status(ovn.health()); });
  registry.add_metrics([&ovn](Metrics& metrics) {
    const auto health = ovn.health();
    metrics.gauge("ovn_ports", "Ports of this host", {}, static_cast<double>(health.ports));
    metrics.gauge("ovn_rows", "Rows of the southbound database that are followed", {},
                  static_cast<double>(health.southbound.rows));
    std::map<std::string_view, std::size_t> skipped;
    for (const auto reason : agent::OvnSkipped::kReasons) {
      skipped[name_of(reason)];
    }
    for (const auto& [port, why] : health.skipped) {
      ++skipped[name_of(why.reason)];
    }
    for (const auto& [reason, count] : skipped) {
      metrics.gauge("ovn_ports_skipped", "Rows left out because they lack something",
                    {{"reason", std::string(reason)}}, static_cast<double>(count));
    }
    metrics.gauge("ovn_connected", "1 while both databases are connected", {},
                  health.local.connected && health.southbound.connected ? 1 : 0);
    metrics.gauge("ovn_reported", "1 while Neutron is shown that the metadata agent is alive", {},
                  health.report.shown && health.report.last_error.empty() ? 1 : 0);
  });
  registry.add_port_facts([&ovn](const Port& port) {
    Json row = Json::object();
    if (const auto facts = ovn.facts(port.id)) {
      row["name"] = facts->name;
      row["ovn"] = facts->external ? "external" : name_of(facts->standing);
    }
    return row;
  });
  registry.add_findings([&ovn] { return ovn_findings(ovn); });
  registry.add_health(
      "ovn",
      [&ovn] {
        const auto health = ovn.health();
        if (!health.local.connected) {
          return "the Open vSwitch database is not connected: " + health.local.last_error;
        }
        if (!health.southbound.connected) {
          return "the OVN southbound database is not connected: " + health.southbound.last_error;
        }
        return std::string();
      },
      admin::Registry::Guests::served);
}

void show(admin::Registry& registry, const agent::NeutronDirectory& neutron) {
  registry.add_status("neutron", [&neutron] {
    const auto health = neutron.health();
    Json row{{"reachable", health.reachable},
             {"last_error", health.last_error},
             {"down_for_s", health.down_for.count()},
             {"remembered", health.remembered},
             {"oldest_s", health.oldest.count()}};
    show_counts<NeutronCounts<>>(row, health);
    return row;
  });
  registry.add_metrics([&neutron](Metrics& metrics) {
    const auto health = neutron.health();
    metrics.all<NeutronCounts<>>("neutron", health);
    metrics.gauge("neutron_oldest_answer_seconds", "Age of the oldest answer that is remembered",
                  {}, static_cast<double>(health.oldest.count()));
    metrics.gauge("neutron_reachable", "0 while Neutron or Keystone cannot be asked", {},
                  health.reachable ? 1 : 0);
  });
  registry.add_health(
      "neutron",
      [&neutron] {
        const auto health = neutron.health();
        return health.reachable ? std::string() : "Neutron cannot be asked: " + health.last_error;
      },
      admin::Registry::Guests::served);
}

void show(admin::Registry& registry, const http::Overload& overload) {
  registry.add_status("overload", [&overload] {
    const auto usage = overload.usage();
    const auto& limits = overload.limits();
    Json row;
    show_counts<OverloadCounts<>>(row, usage);
    show_counts<MemoryCounts<>>(row, usage);
    row["max_connections"] = limits.connections;
    row["max_requests_in_flight"] = limits.requests;
    row["max_memory"] = limits.memory;
    return row;
  });
  registry.add_metrics([&overload](Metrics& metrics) {
    const auto usage = overload.usage();
    metrics.all<OverloadCounts<>>("overload", usage);
    metrics.all<MemoryCounts<>>("overload", usage);
    const auto limit = [&](std::string_view of, std::size_t most) {
      metrics.gauge("overload_limit", "As much as there may be", {{"of", of}},
                    static_cast<double>(most));
    };
    limit("connections", overload.limits().connections);
    limit("requests_in_flight", overload.limits().requests);
    limit("memory_bytes", overload.limits().memory);
  });
}

void show(admin::Registry& registry, const proxy::ProxyStage& proxy) {
  registry.add_port_facts([&proxy](const Port& port) {
    Json row = Json::object();
    if (const auto status = proxy.access().status_of(port.id)) {
      row["access"] = access_row(*status);
    }
    return row;
  });
  registry.add_metrics(
      [&proxy](Metrics& metrics) { count_most_active(metrics, proxy.access().all()); });
  show_stage(registry, "proxy", [&proxy] { return proxy.measured(); });
  registry.add_status("proxy", [&proxy] {
    const auto counters = proxy.counters();
    Json row;
    show_counts<ProxyCounts<>>(row, counters);
    show_counts<ServerCounts<>>(row, counters);
    auto& responses = row["responses"] = Json::object();
    for (const auto& [status, count] : counters.responses) {
      responses[std::to_string(status)] = count;
    }
    return row;
  });
  registry.add_metrics([&proxy](Metrics& metrics) {
    const auto counters = proxy.counters();
    metrics.all<ProxyCounts<>>("proxy", counters);
    metrics.all<ServerCounts<>>("proxy", counters);
    for (const auto& [status, count] : counters.responses) {
      const auto text = std::to_string(status);
      metrics.counter("proxy_responses_total", "Responses to guests by status", {{"status", text}},
                      static_cast<double>(count));
    }
  });
}

void show(admin::Registry& registry, const agent::AgentStage& agent) {
  registry.add_status("agent", [&agent] {
    Json row;
    show_counts(row, agent.counters());
    return row;
  });
  registry.add_metrics([&agent](Metrics& metrics) { metrics.all("agent", agent.counters()); });
  registry.add_findings([&agent]() -> std::vector<admin::Finding> {
    const auto refused = agent.counters().refused_port_tags;
    if (refused == 0) {
      return {};
    }
    return {{admin::Finding::Severity::warning, "agent",
             std::to_string(refused) + " requests had a port tag that is not signed with our key",
             "give proxy and agent the same key: [DEFAULT] port_tag_key, or the same run_path"}};
  });
}

void show(admin::Registry& registry, const agent::Shield& shield) {
  registry.add_status("shield", [&shield] {
    Json row;
    show_counts(row, shield.counters());
    return row;
  });
  registry.add_metrics([&shield](Metrics& metrics) { metrics.all("shield", shield.counters()); });
}

void show(admin::Registry& registry, const api::ApiStage& api) {
  registry.add_status("api", [&api] {
    const auto stats = api.stats();
    Json row;
    show_counts<ApiState<>>(row, stats);
    show_counts<ApiCounts<>>(row, stats);
    show_counts<VendordataCounts<>>(row, stats);
    return row;
  });
  registry.add_metrics([&api](Metrics& metrics) {
    const auto stats = api.stats();
    metrics.all<ApiState<>>("api", stats);
    metrics.all<ApiCounts<>>("api", stats);
    metrics.all<VendordataCounts<>>("api", stats);
  });
}

void show(admin::Registry& registry, const http::Server& server, std::string_view stage) {
  const auto name = std::string(stage) + " server";
  registry.add_status(name, [&server] {
    Json row;
    show_counts(row, server.counters());
    return row;
  });
  registry.add_metrics([&server, prefix = std::string(stage) + "_server"](Metrics& metrics) {
    metrics.all(prefix, server.counters());
  });
}

void show(admin::Registry& registry, const http::Upstream& upstream, std::string_view stage) {
  registry.add_status("to " + std::string(stage), [&upstream] {
    Json row;
    show_counts(row, upstream.counters());
    return row;
  });
  registry.add_metrics([&upstream, stage = std::string(stage)](Metrics& metrics) {
    metrics.all("upstream", upstream.counters(), {{"stage", stage}});
  });
}

}  // namespace metatap::apps
