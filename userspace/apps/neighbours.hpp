// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "admin/registry.hpp"
#include "admin/upstream_health.hpp"
#include "apps/measures.hpp"
#include "http/server.hpp"
#include "http/upstream.hpp"

/// How stages in other processes are shown: those that ask us, and those that we ask.
namespace metatap::apps {

/// A server that another process speaks to; `stage` is "agent" or "api".
void show(admin::Registry& registry, const http::Server& server, std::string_view stage);

/// The way to a stage in another process, and whether that answers: for `metatap status`, /healthz
/// and `metatap explain` the same. Control thread.
class Neighbour {
 public:
  using Health = admin::UpstreamHealth;

  /// `measure`: how those in front of it see it. All outlive this.
  Neighbour(const http::Upstream& upstream, Measure measure)
      : upstream_(upstream), measure_(std::move(measure)) {}

  /// As of now.
  const Health& health();
  /// An operator's question was put to it, by a way of its own, of which that was counted.
  void asked(const UpstreamCounts<>& counts);

  [[nodiscard]] const http::Upstream& upstream() const { return upstream_; }
  [[nodiscard]] const Measure& measure() const { return measure_; }

 private:
  const http::Upstream& upstream_;
  const Measure measure_;
  Health health_;
};

/// `neighbour` outlives the registry's use.
void show(admin::Registry& registry, Neighbour& neighbour, std::string_view stage);

}  // namespace metatap::apps
