// SPDX-License-Identifier: Apache-2.0
#include "admin/metrics.hpp"

#include <prometheus/text_serializer.h>

#include <limits>

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

void Metrics::histogram(std::string_view name, std::string_view help, const Labels& labels,
                        std::span<const double> bounds, std::span<const std::uint64_t> buckets,
                        double sum) {
  auto& histogram = families_->add(name, help, labels, prometheus::MetricType::Histogram).histogram;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    histogram.sample_count += buckets[i];
    histogram.bucket.push_back(
        {histogram.sample_count,
         i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity()});
  }
  histogram.sample_sum = sum;
}

void Metrics::add(std::string_view stage, const CounterInfo& info, Labels labels,
                  std::uint64_t value) {
  if (!info.kind.empty()) {
    labels.emplace_back("kind", info.kind);
  }
  auto name = std::string(stage) + "_" + std::string(info.metric);
  auto told = static_cast<double>(value);
  constexpr std::string_view kUnit = "_microseconds";  // Prometheus' is the second
  if (const auto unit = name.find(kUnit); unit != std::string::npos) {
    name.replace(unit, kUnit.size(), "_seconds");
    told /= 1e6;
  }
  const auto put = info.grows() ? &Metrics::counter : &Metrics::gauge;
  (this->*put)(name, info.help, labels, told);
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families;
  families.reserve(families_->by_name.size());
  for (const auto& [name, family] : families_->by_name) {
    families.push_back(family);
  }
  return prometheus::TextSerializer().Serialize(families);
}

std::string Metrics::merged(std::string_view one, std::string_view other) {
  struct Family {
    std::string head, samples;
  };
  std::map<std::string, Family, std::less<>> families;
  for (auto text : {one, other}) {
    Family* family = &families[""];
    bool known = false;
    while (!text.empty()) {
      const auto line = text.substr(0, text.find('\n') + 1);
      text.remove_prefix(line.empty() ? text.size() : line.size());
      constexpr std::string_view kHelp = "# HELP ";
      if (line.starts_with(kHelp)) {
        const auto rest = line.substr(kHelp.size());
        const auto [at, fresh] = families.try_emplace(std::string(rest.substr(0, rest.find(' '))));
        family = &at->second;
        known = !fresh;
      }
      if (!line.starts_with('#')) {
        family->samples += line;
      } else if (!known) {
        family->head += line;
      }
    }
  }
  std::string all;
  for (const auto& [name, family] : families) {
    all += family.head + family.samples;
  }
  return all;
}

}  // namespace metatap::admin
