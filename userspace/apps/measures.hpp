// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "admin/registry.hpp"
#include "apps/daemon.hpp"
#include "dataplane/slot_status.hpp"
#include "http/meter.hpp"

/// What is measured and not counted: processes, stages' answers and times, the busiest ports.
namespace metatap::apps {

/// What is running: version, commit and ABI, and which stages.
void show_daemon(admin::Registry& registry, const DaemonOptions& options);
/// This process, under that name.
void show_process(admin::Registry& registry, std::string_view process);
/// Reads a meter.
using Measure = std::function<http::Meter::Sums()>;
[[nodiscard]] Measure measure_of(const http::Metered& metered);
/// The stage "proxy", "agent" or "api".
void show_stage(admin::Registry& registry, std::string_view stage, Measure measure);
/// How long a stage in another process took, seen from here.
void show_upstream_times(admin::Registry& registry, std::string_view stage, Measure measure);

/// The reasons of connections that a guest opened for others.
inline constexpr std::array kForwarded{"steered_forwarded", "forwarded_inside"};

/// The ports of which most packets have come, and those of which most were dropped: so many of
/// each at most, since each costs a Prometheus several series.
inline constexpr std::size_t kBusiestPorts = 20;
/// Puts those in front, and says how many there are. Of equals always the same ones, by name: a
/// series must not come and go where nothing happens.
template <class Item, class Weight, class Name>
std::size_t busiest_first(std::vector<Item>& items, Weight weight, Name name) {
  const auto most = std::min(kBusiestPorts, items.size());
  std::ranges::partial_sort(items, items.begin() + static_cast<std::ptrdiff_t>(most),
                            [&](const Item& one, const Item& other) {
                              const auto left = weight(one), right = weight(other);
                              return left != right ? left > right : name(one) < name(other);
                            });
  return most;
}
void count_busiest(admin::Metrics& metrics, const std::vector<dataplane::SlotStatus>& slots);

}  // namespace metatap::apps
