// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
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
  /// All of a list of counters.def, as metatap_`stage`_….
  template <class Counts>
  void all(std::string_view stage, const Counts& counts, const Labels& labels = {}) {
    each(counts,
         [&](const CounterInfo& info, std::uint64_t value) { add(stage, info, labels, value); });
  }

  /// Prometheus' text format.
  [[nodiscard]] std::string text() const;

 private:
  struct Families;
  void add(std::string_view stage, const CounterInfo& info, Labels labels, std::uint64_t value);
  std::unique_ptr<Families> families_;
};

}  // namespace metatap::admin
