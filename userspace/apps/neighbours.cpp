// SPDX-License-Identifier: Apache-2.0
#include "apps/neighbours.hpp"

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "apps/counts.hpp"
#include "base/duration_text.hpp"

namespace metatap::apps {
namespace {

using admin::Json;
using admin::Metrics;
using std::chrono::system_clock;

/// Those that the way there gave itself, because it had none, among them.
std::uint64_t responses_of(const http::Meter::Sums& sums) {
  std::uint64_t all = 0;
  for (const auto& path : sums.answers) {
    all = std::accumulate(path.begin(), path.end(), all);
  }
  return all;
}

std::vector<admin::Finding> findings_of(const UpstreamCounts<>& counts, const std::string& stage) {
  if (admin::UpstreamHealth::failures_of(counts) == 0) {
    return {};
  }
  return {{admin::Finding::Severity::warning, "to " + stage,
           std::to_string(counts.unavailable) + " requests found nobody there, " +
               std::to_string(counts.timeouts) + " no answer in time, " +
               std::to_string(counts.invalid) + " an answer that is none, of " +
               std::to_string(counts.requests),
           "metatap explain PORT says whether it answers now"}};
}

}  // namespace

const Neighbour::Health& Neighbour::health() {
  const auto counts = upstream_.counters();  // first: what is counted later is in the next look
  health_.look(responses_of(measure_()), counts, system_clock::now());
  return health_;
}

void Neighbour::asked(const UpstreamCounts<>& counts) {
  health();  // of what was before
  health_.asked(counts, system_clock::now());
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

void show(admin::Registry& registry, Neighbour& neighbour, std::string_view stage) {
  const auto name = "to " + std::string(stage);
  registry.add_watch([&neighbour] { neighbour.health(); });
  registry.add_health(name,
                      [&neighbour] { return neighbour.health().problem(system_clock::now()); });
  registry.add_status(name, [&neighbour] {
    const auto& health = neighbour.health();
    Json row{{"answered_at", seconds_of(health.answered_at())},
             {"failed_at", seconds_of(health.failed_at())}};
    show_counts(row, neighbour.upstream().counters());
    return row;
  });
  registry.add_findings([&neighbour, stage = std::string(stage)] {
    return findings_of(neighbour.upstream().counters(), stage);
  });
  registry.add_metrics([&neighbour, stage = std::string(stage)](Metrics& metrics) {
    metrics.all("upstream", neighbour.upstream().counters(), {{"stage", stage}});
  });
  show_upstream_times(registry, stage, neighbour.measure());
}

}  // namespace metatap::apps
