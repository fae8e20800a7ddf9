// SPDX-License-Identifier: Apache-2.0
#include "admin/metrics.hpp"

#include <prometheus/text_serializer.h>

namespace metatap::admin {

struct Metrics::Families {
  std::map<std::string, prometheus::MetricFamily, std::less<>> by_name;

  prometheus::ClientMetric& add(std::string_view name, std::string_view help, const Labels& labels,
                                prometheus::MetricType type) {
    const std::string full = "metatap_" + std::string(name);
    auto& family = by_name[full];
    family.name = full;
    family.help = help;
    family.type = type;
    auto& metric = family.metric.emplace_back();
    for (const auto& [label, value] : labels) {
      metric.label.push_back({std::string(label), std::string(value)});
    }
    return metric;
  }
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

void Metrics::counter(std::string_view name, std::string_view help, const Labels& labels,
                      double value) {
  families_->add(name, help, labels, prometheus::MetricType::Counter).counter.value = value;
}

void Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels,
                    double value) {
  families_->add(name, help, labels, prometheus::MetricType::Gauge).gauge.value = value;
}

void Metrics::add(std::string_view stage, const CounterInfo& info, Labels labels,
                  std::uint64_t value) {
  if (!info.kind.empty()) {
    labels.emplace_back("kind", info.kind);
  }
  const auto name = std::string(stage) + "_" + std::string(info.metric);
  const auto put = info.grows() ? &Metrics::counter : &Metrics::gauge;
  (this->*put)(name, info.help, labels, static_cast<double>(value));
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(families_->by_name.size());
  for (const auto& [name, family] : families_->by_name) {
    families.push_back(family);
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace metatap::admin
