// SPDX-License-Identifier: Apache-2.0
#include "apps/views.hpp"

#include <string>

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

constexpr auto kFirstAdvice =
    "a program that is first should pass on what is not its own (TCX_NEXT, TC_ACT_UNSPEC)";

void count_slots(Metrics& metrics, const std::vector<dataplane::SlotStatus>& slots) {
  for (const auto& slot : slots) {
    const Metrics::Labels labels{{"port", slot.port_id}, {"device", slot.device}};
    metrics.counter("port_packets_total", "Metadata packets of a port", labels,
                    static_cast<double>(slot.counter.packets));
    metrics.counter("port_bytes_total", "Bytes of a port's metadata packets", labels,
                    static_cast<double>(slot.counter.bytes));
    metrics.counter("port_drops_total", "Metadata packets of a port that were dropped", labels,
                    static_cast<double>(slot.counter.drops));
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

}  // namespace

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
    count_slots(metrics, tap.slots());
  });
  registry.add_port_facts([&tap](const Port& port) {
    for (const auto& device : tap.devices()) {
      if (device.port_id == port.id) {
        return device_row(device);
      }
    }
    return Json::object();
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
  registry.add_health("routers", [&router] { return router.problem(); });
  registry.add_findings([&router] { return router_findings(router); });
  registry.add_metrics([&router](Metrics& metrics) {
    const auto progress = router.progress();
    metrics.gauge("namespaces_served", "Router and DHCP namespaces that are served", {},
                  static_cast<double>(progress.served));
    metrics.gauge("namespaces_pending", "Namespaces that have not had their turn yet", {},
                  static_cast<double>(progress.pending));
    count_slots(metrics, router.slots());
  });
}

void show(admin::Registry& registry, const agent::OvnFeed& ovn) {
  const auto database = [](const agent::OvsdbClient::Health& health) {
    return Json{{"remote", health.remote},
                {"connected", health.connected},
                {"connections", health.connections},
                {"updates", health.updates},
                {"last_error", health.last_error}};
  };
  registry.add_status("ovn", [&ovn, database] {
    const auto health = ovn.health();
    Json skipped = Json::array();
    for (const auto& [port, reason] : health.skipped) {
      skipped.push_back({{"port", port}, {"reason", reason}});
    }
    return Json{{"chassis", health.chassis},
                {"registered", health.registered},
                {"ports", health.ports},
                {"local", database(health.local)},
                {"southbound", database(health.southbound)},
                {"skipped", skipped}};
  });
  registry.add_metrics([&ovn](Metrics& metrics) {
    const auto health = ovn.health();
    metrics.gauge("ovn_ports", "Ports bound to this chassis", {},
                  static_cast<double>(health.ports));
    metrics.gauge("ovn_ports_skipped", "Rows left out because they lack something", {},
                  static_cast<double>(health.skipped.size()));
    metrics.gauge("ovn_connected", "1 while both databases are connected", {},
                  health.local.connected && health.southbound.connected ? 1 : 0);
  });
  registry.add_health("ovn", [&ovn] {
    const auto health = ovn.health();
    if (!health.local.connected) {
      return "the Open vSwitch database is not connected: " + health.local.last_error;
    }
    if (!health.southbound.connected) {
      return "the OVN southbound database is not connected: " + health.southbound.last_error;
    }
    return std::string();
  });
}

void show(admin::Registry& registry, const agent::NeutronDirectory& neutron) {
  registry.add_status("neutron", [&neutron] {
    const auto health = neutron.health();
    return Json{{"reachable", health.reachable},
                {"last_error", health.last_error},
                {"down_for_s", health.down_for.count()},
                {"asked", health.asked},
                {"answered_from_memory", health.answered_from_memory},
                {"answered_stale", health.answered_stale},
                {"failed", health.failed},
                {"remembered", health.remembered},
                {"oldest_s", health.oldest.count()}};
  });
  registry.add_metrics([&neutron](Metrics& metrics) {
    const auto health = neutron.health();
    metrics.counter("neutron_questions_total", "Lookups that Neutron was asked", {},
                    static_cast<double>(health.asked));
    metrics.counter("neutron_stale_answers_total", "Old answers given while Neutron was down", {},
                    static_cast<double>(health.answered_stale));
    metrics.gauge("neutron_reachable", "0 while Neutron or Keystone cannot be asked", {},
                  health.reachable ? 1 : 0);
  });
  registry.add_health("neutron", [&neutron] {
    const auto health = neutron.health();
    return health.reachable ? std::string() : "Neutron cannot be asked: " + health.last_error;
  });
}

void show(admin::Registry& registry, const proxy::ProxyStage& proxy) {
  registry.add_status("proxy", [&proxy] {
    const auto counters = proxy.counters();
    Json responses = Json::object();
    for (const auto& [status, count] : counters.responses) {
      responses[std::to_string(status)] = count;
    }
    return Json{{"connections", counters.connections},
                {"open", counters.open},
                {"in_flight", counters.in_flight},
                {"responses", responses},
                {"unidentified", counters.unidentified},
                {"revoked", counters.revoked},
                {"over_port_cap", counters.over_port_cap},
                {"over_network_cap", counters.over_network_cap},
                {"rate_limited", counters.rate_limited},
                {"malformed", counters.malformed},
                {"expired", counters.expired},
                {"upstream_errors", counters.upstream_errors},
                {"accept_failures", counters.accept_failures}};
  });
  registry.add_metrics([&proxy](Metrics& metrics) {
    const auto counters = proxy.counters();
    const auto counter = [&](std::string_view name, std::string_view help, std::uint64_t value) {
      metrics.counter(name, help, {}, static_cast<double>(value));
    };
    counter("proxy_connections_total", "Guests' connections let in", counters.connections);
    counter("proxy_unidentified_total", "Connections reset: no valid tag", counters.unidentified);
    counter("proxy_revoked_total", "Connections reset: their port went away", counters.revoked);
    counter("proxy_over_port_cap_total", "Refused: too many connections of one port",
            counters.over_port_cap);
    counter("proxy_over_network_cap_total", "Refused: too many connections of one network",
            counters.over_network_cap);
    counter("proxy_rate_limited_total", "Requests answered 429", counters.rate_limited);
    counter("proxy_malformed_total", "Requests that were no good HTTP", counters.malformed);
    counter("proxy_upstream_errors_total", "Requests the next stage failed",
            counters.upstream_errors);
    metrics.gauge("proxy_connections_open", "Guests' connections open now", {},
                  static_cast<double>(counters.open));
    metrics.gauge("proxy_requests_in_flight", "Requests waiting for the next stage", {},
                  static_cast<double>(counters.in_flight));
    for (const auto& [status, count] : counters.responses) {
      metrics.counter("proxy_responses_total", "Responses to guests by status",
                      {{"status", std::to_string(status)}}, static_cast<double>(count));
    }
  });
}

void show(admin::Registry& registry, const agent::AgentStage& agent) {
  registry.add_status("agent",
                      [&agent] { return Json{{"refused_port_tags", agent.refused_tags()}}; });
  registry.add_metrics([&agent](Metrics& metrics) {
    metrics.counter("agent_refused_port_tags_total",
                    "Requests whose port tag was not signed with the agent's key", {},
                    static_cast<double>(agent.refused_tags()));
  });
  registry.add_findings([&agent]() -> std::vector<admin::Finding> {
    if (agent.refused_tags() == 0) {
      return {};
    }
    return {{admin::Finding::Severity::warning, "agent",
             std::to_string(agent.refused_tags()) +
                 " requests had a port tag that is not signed with our key",
             "give proxy and agent the same key: [DEFAULT] port_tag_key, or the same run_path"}};
  });
}

void show(admin::Registry& registry, const api::ApiStage& api) {
  registry.add_status("api", [&api] {
    const auto stats = api.stats();
    return Json{{"instances", stats.instances},
                {"requests", stats.requests},
                {"ok", stats.ok},
                {"not_found", stats.not_found},
                {"bad_request", stats.bad_request},
                {"denied", stats.denied},
                {"errors", stats.errors},
                {"passwords", stats.passwords},
                {"renders", stats.renders},
                {"render_ms", stats.render_microseconds / 1000},
                {"vendordata_asked", stats.vendordata_asked},
                {"vendordata_failed", stats.vendordata_failed},
                {"vendordata_file_errors", stats.vendordata_file_errors}};
  });
  registry.add_metrics([&api](Metrics& metrics) {
    const auto stats = api.stats();
    const auto answers = [&](std::string_view kind, std::uint64_t value) {
      metrics.counter("api_answers_total", "Answers of the metadata API", {{"kind", kind}},
                      static_cast<double>(value));
    };
    answers("ok", stats.ok);
    answers("not_found", stats.not_found);
    answers("bad_request", stats.bad_request);
    answers("denied", stats.denied);
    answers("conflict", stats.conflicts);
    answers("error", stats.errors);
    metrics.counter("api_renders_total", "Instances rendered", {},
                    static_cast<double>(stats.renders));
    metrics.counter("api_vendordata_failed_total", "Dynamic vendordata without a usable answer", {},
                    static_cast<double>(stats.vendordata_failed));
    metrics.gauge("api_instances", "Instances served", {}, static_cast<double>(stats.instances));
  });
}

void show(admin::Registry& registry, const http::Server& server, std::string_view stage) {
  registry.add_status(std::string(stage) + " server", [&server] {
    const auto counters = server.counters();
    return Json{{"accepted", counters.accepted},
                {"open", counters.open},
                {"requests", counters.requests},
                {"malformed", counters.malformed},
                {"expired", counters.expired}};
  });
}

void show(admin::Registry& registry, const http::Upstream& upstream, std::string_view stage) {
  registry.add_status("to " + std::string(stage), [&upstream] {
    const auto counters = upstream.counters();
    return Json{{"requests", counters.requests},       {"connects", counters.connects},
                {"reused", counters.reused},           {"retried", counters.retried},
                {"unavailable", counters.unavailable}, {"timeouts", counters.timeouts},
                {"invalid", counters.invalid}};
  });
  registry.add_metrics([&upstream, stage = std::string(stage)](Metrics& metrics) {
    const auto counters = upstream.counters();
    metrics.counter("upstream_requests_total", "Requests to the next stage", {{"stage", stage}},
                    static_cast<double>(counters.requests));
    metrics.counter(
        "upstream_failures_total", "Requests the next stage did not answer", {{"stage", stage}},
        static_cast<double>(counters.unavailable + counters.timeouts + counters.invalid));
  });
}

}  // namespace metatap::apps
