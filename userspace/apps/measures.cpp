// SPDX-License-Identifier: Apache-2.0
#include "apps/measures.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "apps/version.hpp"
#include "sys/process_usage.hpp"

namespace metatap::apps {
namespace {

using admin::Metrics;
using http::Meter;

constexpr auto kBoundsInSeconds = [] {
  std::array<double, Meter::kBounds.size()> bounds{};
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    bounds.at(i) = static_cast<double>(Meter::kBounds.at(i)) / 1e6;
  }
  return bounds;
}();

/// Only what there was: most paths have few statuses.
void count_answers(Metrics& metrics, const std::string& stage, const Meter::Sums& sums) {
  for (std::size_t path = 0; path < kPathClasses; ++path) {
    for (std::size_t status = 0; status < Meter::kStatuses.size(); ++status) {
      const auto count = sums.answers.at(path).at(status);
      if (count == 0) {
        continue;
      }
      const auto code = status == 0 ? "other" : std::to_string(Meter::kStatuses.at(status));
      metrics.counter(
          "requests_total", "Requests that a stage has answered",
          {{"stage", stage}, {"path", name_of(static_cast<PathClass>(path))}, {"status", code}},
          static_cast<double>(count));
    }
  }
}

void add_histogram(Metrics& metrics, std::string_view name, std::string_view help,
                   const std::string& stage, const Meter::Sums& sums) {
  metrics.histogram(name, help, {{"stage", stage}}, kBoundsInSeconds, sums.buckets, sums.seconds);
}

}  // namespace

void show_daemon(admin::Registry& registry, const DaemonOptions& options) {
  registry.add_status("daemon", [&options] {
    const auto build = build_of_this();
    admin::Json row{{"version", build.version},
                    {"commit", build.commit},
                    {"abi", build.abi},
                    {"stages", options.stages()}};
    if (options.dataplane) {
      row["steering"] = options.steering == Steering::bpf ? "bpf" : "listen";
    }
    return row;
  });
  registry.add_metrics([](Metrics& metrics) {
    const auto build = build_of_this();
    metrics.gauge("build_info", "What is running; always 1",
                  {{"version", build.version}, {"commit", build.commit}, {"abi", build.abi}}, 1);
  });
}

void show_process(admin::Registry& registry, std::string_view process) {
  registry.add_status(std::string(process), [] {
    const auto up = std::chrono::system_clock::now().time_since_epoch() -
                    std::chrono::duration<double>(sys::process_usage().started);
    return admin::Json{{"pid", ::getpid()},
                       {"commit", build_of_this().commit},
                       {"uptime_s", std::chrono::duration_cast<std::chrono::seconds>(up).count()}};
  });
  registry.add_metrics([process = std::string(process)](Metrics& metrics) {
    const auto usage = sys::process_usage();
    const Metrics::Labels labels{{"process", process}};
    const auto size = [](std::size_t number) { return static_cast<double>(number); };
    metrics.counter("process_cpu_seconds_total", "User and system time of a process", labels,
                    usage.cpu_seconds);
    metrics.gauge("process_resident_memory_bytes", "Memory of a process that is in RAM", labels,
                  size(usage.resident_bytes));
    metrics.gauge("process_open_fds", "Descriptors that a process has open", labels,
                  size(usage.open_descriptors));
    metrics.gauge("process_max_fds", "Descriptors that it may have open", labels,
                  size(usage.max_descriptors));
    metrics.gauge("process_threads", "Its threads", labels, size(usage.threads));
    metrics.gauge("process_start_time_seconds", "When it was started, since the epoch", labels,
                  usage.started);
  });
}

Measure measure_of(const http::Metered& metered) {
  return [&metered] { return metered.sums(); };
}

void show_stage(admin::Registry& registry, std::string_view stage, Measure measure) {
  registry.add_metrics(
      [stage = std::string(stage), measure = std::move(measure)](Metrics& metrics) {
        const auto now = measure();
        count_answers(metrics, stage, now);
        add_histogram(metrics, "request_duration_seconds",
                      "From the whole request to the answer of a stage and those behind it", stage,
                      now);
      });
}

void show_upstream_times(admin::Registry& registry, std::string_view stage, Measure measure) {
  registry.add_metrics(
      [stage = std::string(stage), measure = std::move(measure)](Metrics& metrics) {
        add_histogram(metrics, "upstream_duration_seconds",
                      "How long a stage in another process took, the way there included", stage,
                      measure());
      });
}

void count_busiest(Metrics& metrics, const std::vector<dataplane::SlotStatus>& slots) {
  std::map<std::pair<std::string, std::string>, mt_counter> ports;  // a port's slots together
  std::map<std::pair<std::string, std::string>, std::map<std::string, std::uint64_t>> forwarded;
  for (const auto& slot : slots) {
    auto& sum = ports[{slot.port_id, slot.device}];
    for (const auto* reason : kForwarded) {
      if (const auto count = slot.reasons.find(reason); count != slot.reasons.end()) {
        forwarded[{slot.port_id, slot.device}][reason] += count->second;
      }
    }
    sum.packets += slot.counter.packets;
    sum.bytes += slot.counter.bytes;
    sum.drops += slot.counter.drops;
  }
  using Port = decltype(ports)::value_type;
  std::set<const Port*> busiest;
  std::vector<const Port*> all;
  for (const auto& port : ports) {
    all.push_back(&port);
  }
  for (const auto& weight : {&mt_counter::packets, &mt_counter::drops}) {
    const auto most = busiest_first(
        all, [&](const Port* port) { return port->second.*weight; },
        [](const Port* port) -> const auto& { return port->first; });
    for (std::size_t i = 0; i < most && all[i]->second.*weight != 0; ++i) {
      busiest.insert(all[i]);
    }
  }
  for (const auto* port : busiest) {
    const Metrics::Labels labels{{"port", port->first.first}, {"device", port->first.second}};
    const auto& count = port->second;
    metrics.counter("port_packets_total", "Metadata packets of a port, of the busiest ports",
                    labels, static_cast<double>(count.packets));
    metrics.counter("port_bytes_total", "Bytes of these", labels, static_cast<double>(count.bytes));
    metrics.counter("port_drops_total", "Of these packets, dropped", labels,
                    static_cast<double>(count.drops));
    for (const auto& [reason, connections] : forwarded[port->first]) {
      metrics.counter(
          "port_forwarded_total", "Connections of these ports that were forwarded inside the guest",
          {{"port", port->first.first}, {"device", port->first.second}, {"reason", reason}},
          static_cast<double>(connections));
    }
  }
}

}  // namespace metatap::apps
