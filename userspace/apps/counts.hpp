// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "admin/registry.hpp"
#include "metatap/counters.hpp"

namespace metatap::apps {

/// All of a list of counters.def, as fields of `row`.
template <class Counts>
void show_counts(admin::Json& row, const Counts& counts) {
  each(counts,
       [&](const CounterInfo& info, std::uint64_t value) { row[std::string(info.name)] = value; });
}

}  // namespace metatap::apps
