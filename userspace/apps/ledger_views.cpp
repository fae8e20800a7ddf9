// SPDX-License-Identifier: Apache-2.0
#include "apps/ledger_views.hpp"

#include <string>
#include <vector>

namespace metatap::apps {

using admin::Json;

void show(admin::Registry& registry, const ledger::Ledger& ledger) {
  registry.add_status("ledger", [&ledger] {
    const auto health = ledger.health();
    return Json{{"directory", health.directory.string()},
                {"problem", health.problem},
                {"last_record", health.end.record},
                {"chain", health.end.link},
                {"records", health.records},
                {"lost", health.lost},
                {"waiting", health.waiting}};
  });
  registry.add_metrics([&ledger](admin::Metrics& metrics) {
    const auto health = ledger.health();
    metrics.counter("ledger_records_total", "Records written to the access ledger", {},
                    static_cast<double>(health.records));
    metrics.counter("ledger_lost_total",
                    "Answers that are not in it, because it could not be written in time", {},
                    static_cast<double>(health.lost));
    metrics.gauge("ledger_waiting_records", "Answers that are not written yet", {},
                  static_cast<double>(health.waiting));
  });
  registry.add_health(
      "ledger", [&ledger] { return ledger.health().problem; }, admin::Registry::Guests::served);
  registry.add_findings([&ledger]() -> std::vector<admin::Finding> {
    const auto lost = ledger.health().lost;
    if (lost == 0) {
      return {};
    }
    return {{admin::Finding::Severity::warning, "ledger",
             std::to_string(lost) + " answers are not in the access ledger: it could not be "
                                    "written in time",
             "a disk that is not full, and quick enough"}};
  });
}

}  // namespace metatap::apps
