// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

/// The lists of counters.def as types. For each there is
///   Counts<Cell>         a field for each counter. The cell is how it is kept where it is counted
///                        (http::Count of one thread, api::Counter of many, std::atomic); a plain
///                        number, which is the default, is what was read
///   sum += counts        adds what the cells hold, say of all workers
///   clear(counts)        sets each cell to 0, one after the other
///   each(counts, use)    calls `use(CounterInfo, number)` for each counter, in the list's order
namespace metatap {

struct CounterInfo {
  std::string_view name, metric, kind, help;  ///< as counters.def has them

  /// Only grows, as Prometheus' counters; else a gauge.
  [[nodiscard]] bool grows() const { return metric.ends_with("_total"); }
};

#define METATAP_COUNTERS(Counts)        \
  template <class Cell = std::uint64_t> \
  struct Counts {
#define METATAP_COUNTER(name, metric, kind, help) Cell name{};
#define METATAP_COUNTERS_END() \
  }                            \
  ;
#include "metatap/counters.def"

#define METATAP_COUNTERS(Counts) \
  template <class Cell>          \
  Counts<>& operator+=(Counts<>& sum, const Counts<Cell>& counts) {
#define METATAP_COUNTER(name, metric, kind, help) sum.name += counts.name;
#define METATAP_COUNTERS_END() \
  return sum;                  \
  }
#include "metatap/counters.def"

#define METATAP_COUNTERS(Counts) \
  template <class Cell>          \
  void clear(Counts<Cell>& counts) {
#define METATAP_COUNTER(name, metric, kind, help) counts.name = 0;
#define METATAP_COUNTERS_END() }
#include "metatap/counters.def"

#define METATAP_COUNTERS(Counts) \
  template <class Use>           \
  void each(const Counts<>& counts, Use&& use) {
#define METATAP_COUNTER(name, metric, kind, help) \
  use(CounterInfo{#name, metric, kind, help}, counts.name);
#define METATAP_COUNTERS_END() }
#include "metatap/counters.def"

}  // namespace metatap
