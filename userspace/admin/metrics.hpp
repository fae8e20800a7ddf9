// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/counters.hpp"

namespace metatap::admin {

/// One scrape's figures. Each stage adds its own as they are at that moment: counters are kept
/// where they are counted, and cost nothing until somebody asks.
class Metrics {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  /// `name` without the prefix `metatap_`; a counter's ends in `_total`.
  void counter(std::string_view name, std::string_view help, const Labels& labels, double value);
  void gauge(std::string_view name, std::string_view help, const Labels& labels, double value);
  /// `buckets`: how many were up to each of `bounds` and above the one before it, and last those
  /// above all.
  void histogram(std::string_view name, std::string_view help, const Labels& labels,
                 std::span<const double> bounds, std::span<const std::uint64_t> buckets,
                 double sum);
  /// All of a list of counters.def, as metatap_`stage`_….
  template <class Counts>
  void all(std::string_view stage, const Counts& counts, const Labels& labels = {}) {
    each(counts,
         [&](const CounterInfo& info, std::uint64_t value) { add(stage, info, labels, value); });
  }

  /// Prometheus' text format.
  [[nodiscard]] std::string text() const;
  /// Two processes' texts as one, in which each metric stands once.
  [[nodiscard]] static std::string merged(std::string_view one, std::string_view other);

 private:
  struct Families;
  void add(std::string_view stage, const CounterInfo& info, Labels labels, std::uint64_t value);
  std::unique_ptr<Families> families_;
};

}  // namespace metatap::admin
