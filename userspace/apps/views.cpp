// SPDX-License-Identifier: Apache-2.0
#include "apps/views.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "apps/counts.hpp"
#include "apps/data_plane_findings.hpp"
#include "apps/measures.hpp"
#include "base/duration_text.hpp"
#include "proxy/guest_pages.hpp"

namespace metatap::apps {
namespace {

using admin::Json;
using admin::Metrics;
using Severity = admin::Finding::Severity;

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

std::string_view name_of_family(int family) {
  return family == AF_INET ? "IPv4" : "IPv6";
}

/// Of the ports whose guests used tokens or were refused for the lack of one most often: no more
/// than a Prometheus bears.
template <class Ports>
void count_most_active(Metrics& metrics, const Ports& ports) {
  std::vector<std::pair<std::uint64_t, const typename Ports::value_type*>> active;
  for (const auto& port : ports) {
    std::uint64_t sum = 0;
    each(port.second.counts, [&](const CounterInfo&, std::uint64_t value) { sum += value; });
    if (sum != 0) {
      active.emplace_back(sum, &port);
    }
  }
  const auto most = busiest_first(
      active, [](const auto& one) { return one.first; },
      [](const auto& one) -> const auto& { return one.second->first; });
  for (std::size_t i = 0; i < most; ++i) {
    metrics.all("port_access", active[i].second->second.counts,
                {{"port", active[i].second->first}});
  }
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
              {"doubtful", health.doubtful},
              {"age", health.age.count()},
              {"local", database(health.local)},
              {"southbound", database(health.southbound)},
              {"agent_id", health.report.agent_id},
              {"reported", health.report.shown ? Json(*health.report.shown) : Json()},
              {"report_error", health.report.last_error},
              {"skipped", skipped}};
}

/// Ports of guests whose instance is not there, and agents that are not believed.
std::vector<admin::Finding> api_findings(const api::ApiStage& api) {
  constexpr std::size_t kNamed = 10;
  std::vector<admin::Finding> findings;
  const auto& inventory = api.index().inventory();
  std::size_t without = 0;
  for (const auto& [id, port] : inventory.ports) {
    const bool guests = !port->device_owner.starts_with("network:");
    if (!guests || inventory.instances.contains(port->device_id)) {
      continue;
    }
    if (++without <= kNamed) {
      findings.push_back(
          {Severity::warning, "port " + id,
           port->device_id.empty()
               ? "it is of no instance: its guest is answered 404"
               : "there is no instance " + port->device_id + ": its guest is answered 404",
           "metatap instance add, or correct the port's device_id"});
    }
  }
  if (without > kNamed) {
    findings.push_back({Severity::warning, "ports",
                        std::to_string(without - kNamed) + " more without an instance", ""});
  }
  if (const std::uint64_t denied = api.stats().denied; denied != 0) {
    findings.push_back({Severity::warning, "api",
                        std::to_string(denied) + " requests were not signed with our secret",
                        "agent and API need the same metadata_proxy_shared_secret"});
  }
  return findings;
}

/// Ports that cannot be served as they are in OVN.
std::vector<admin::Finding> ovn_findings(const agent::OvnFeed& ovn) {
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

}  // namespace

void show(admin::Registry& registry, const dataplane::TapDataPlane& tap,
          const dataplane::PacketWatch& packets) {
  registry.add_findings([&tap, &packets] { return tap_findings(tap, packets); });
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
    const auto bindings = tap.bindings();
    Json probe = Json::array();
    for (const auto& [family, answer] : tap.probe().answers()) {
      probe.push_back({{"family", name_of_family(family)},
                       {"answered", answer.good},
                       {"last_answer_at", seconds_of(answer.answered)}});
    }
    Json row{{"where", tap.where()},
             {"host", bindings.host},
             {"bound_here", bindings.here},
             {"bound_elsewhere", bindings.elsewhere},
             {"problem", space.problem},
             {"repairs", space.repairs},
             {"last_repair", space.last_repair},
             {"self_probe", probe},
             {"devices", devices},
             {"reasons", reasons}};
    if (space.repairs != 0) {
      row["repaired_at"] = seconds_of(space.repaired);
    }
    return row;
  });
  registry.add_health("taps", [&tap] { return tap.namespace_health().problem; });
  registry.add_health("self-probe", [&tap] { return tap.probe().problem(); });
  registry.add_notes([&tap] { return tap_notes(tap); });
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
    metrics.gauge("devices_without_port", "Taps whose guests' requests wait for a port", {},
                  static_cast<double>(tap.without_port()));
    for (const auto& [family, answer] : tap.probe().answers()) {
      const Metrics::Labels labels{{"family", name_of_family(family)}};
      metrics.gauge("self_probe_answered",
                    "1 while our own connections into the metadata namespace are answered", labels,
                    answer.good ? 1 : 0);
      metrics.gauge("self_probe_last_answer_timestamp_seconds",
                    "When the last of them was, since the epoch; 0: never", labels,
                    static_cast<double>(seconds_of(answer.answered)));
    }
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
  registry.add_notes([&router] { return router_notes(router); });
  registry.add_findings([&router] { return old_path_findings(router); },
                        admin::Registry::Pace::slow);
  registry.add_metrics([&router](Metrics& metrics) {
    const auto progress = router.progress();
    metrics.gauge("namespaces_served", "Router and DHCP namespaces that are served", {},
                  static_cast<double>(progress.served));
    metrics.gauge("namespaces_pending", "Namespaces that have not had their turn yet", {},
                  static_cast<double>(progress.pending));
    metrics.gauge("router_devices_behind_others",
                  "Devices in namespaces where somebody's program may take packets first", {},
                  static_cast<double>(router.disturbed_chains().size()));
    count_busiest(metrics, router.slots());
  });
}

void show(admin::Registry& registry, ToSupervisor& supervisor) {
  registry.set_elsewhere([&supervisor](View view, std::string about) {
    return supervisor.look(view, std::move(about));
  });
  registry.add_status("supervisor",
                      [&supervisor] { return Json{{"pid", supervisor.supervisor()}}; });
  registry.add_status("worker",
                      [&supervisor] { return Json{{"restarts", supervisor.restarts()}}; });
  registry.add_metrics([&supervisor](Metrics& metrics) {
    metrics.counter("worker_restarts_total", "Workers that died and were replaced", {},
                    static_cast<double>(supervisor.restarts()));
  });
}

void show_ovn_agent(admin::Registry& registry) {
  registry.add_findings([] { return findings_of_ovn_agent(); }, admin::Registry::Pace::slow);
}

void show(admin::Registry& registry, const agent::OvnFeed& ovn) {
  registry.add_status("ovn", [&ovn] { return ovn_status(ovn.health()); });
  registry.add_metrics([&ovn](Metrics& metrics) {
    const auto health = ovn.health();
    metrics.gauge("ovn_ports", "Ports of this host", {}, static_cast<double>(health.ports));
    metrics.gauge("ovn_ports_doubtful", "Of these, answered 503: nothing shows whose they are now",
                  {}, static_cast<double>(health.doubtful));
    metrics.gauge("ovn_age_seconds", "For how long OVN has not confirmed what is served", {},
                  static_cast<double>(health.age.count()));
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
      row["access"] = proxy::access_json(*status);
    }
    return row;
  });
  registry.add_metrics(
      [&proxy](Metrics& metrics) { count_most_active(metrics, proxy.access().all()); });
  show_stage(registry, "proxy", [&proxy] {
    auto [own, passed] = proxy.measured();
    return own += passed;
  });
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

void tell(admin::TraceLog& log, const proxy::AccessEntry& answer) {
  if (!log.wanted()) {
    return;
  }
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  Json line{{"kind", "request"},
            {"time", std::chrono::duration_cast<std::chrono::microseconds>(now).count()},
            {"port", answer.caller.origin->port_id},
            {"source", answer.caller.address}};
  if (answer.request != nullptr) {
    constexpr std::size_t kLongest = 256;
    line["method"] = answer.request->method;
    line["path"] = answer.request->target.substr(0, kLongest);
  }
  line["status"] = answer.status;
  line["bytes"] = answer.bytes;
  line["total_us"] = answer.stages.count();
  line["reason"] = answer.reason;
  log.add(std::move(line));
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
  registry.add_findings([&api] { return api_findings(api); });
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

}  // namespace metatap::apps
