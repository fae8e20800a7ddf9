// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "apps/views.hpp"

namespace metatap::apps {

using admin::Json;
using admin::Metrics;

void show(admin::Registry& registry, const libvirt::LibvirtFeed& libvirt) {
  registry.add_status("libvirt", [&libvirt] {
    const auto health = libvirt.health();
    Json json{{"uri", health.uri},
              {"connected", health.connected},
              {"error", health.error},
              {"domains", health.domains},
              {"interfaces", health.interfaces},
              {"connections", health.connections},
              {"events", health.events}};
    json["problems"] = health.problems;
    return json;
  });
  registry.add_health(
      "libvirt",
      [&libvirt]() -> std::string {
        const auto health = libvirt.health();
        return health.connected ? "" : health.uri + ": " + health.error;
      },
      admin::Registry::Guests::served);
  registry.add_metrics([&libvirt](Metrics& metrics) {
    const auto health = libvirt.health();
    metrics.gauge("libvirt_connected", "0 while what is known is served on.", {},
                  health.connected ? 1 : 0);
    metrics.gauge("libvirt_domains", "Running domains.", {}, static_cast<double>(health.domains));
    metrics.gauge("libvirt_problem_domains", "Domains of which something is left out.", {},
                  static_cast<double>(health.problems.size()));
    metrics.counter("libvirt_events_total", "Events that libvirt told of.", {},
                    static_cast<double>(health.events));
    metrics.counter("libvirt_connections_total", "Connections to libvirt that were made.", {},
                    static_cast<double>(health.connections));
  });
  registry.add_findings([&libvirt] {
    using enum admin::Finding::Severity;
    const auto health = libvirt.health();
    std::vector<admin::Finding> findings;
    findings.push_back({health.connected ? ok : error, "libvirt",
                        health.uri + ": " + (health.connected ? "connected" : health.error),
                        health.connected ? "" : "what was known is served on"});
    for (const auto& [domain, problem] : health.problems) {
      findings.push_back({warning, "domain " + domain, problem, "docs/libvirt.md"});
    }
    if (const auto& silent = health.silent_on_openstack; !silent.empty()) {
      const auto count = silent.size();
      findings.push_back({note, "SMBIOS",
                          count == 1 ? "domain " + *silent.begin() + " does not say OpenStack there"
                                     : std::to_string(count) +
                                           " domains do not say OpenStack there, the first is " +
                                           *silent.begin(),
                          "cloud-init turns itself off there, unless the kernel's command line has "
                          "ci.ds=OpenStack: docs/libvirt.md, \"What the guest needs\""});
    }
    return findings;
  });
}

}  // namespace metatap::apps
