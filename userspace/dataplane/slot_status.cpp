// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_status.hpp"

#include <unordered_map>

#include "base/log.hpp"
#include "dataplane/programs.hpp"

namespace metatap::dataplane {

void read_counters(const Maps& maps, std::vector<SlotStatus>& slots) {
  std::unordered_map<std::uint32_t, SlotStatus*> by_number;
  for (auto& slot : slots) {
    by_number.emplace(slot.slot, &slot);
    if (const auto counter = maps.counters.get(slot.slot); counter && *counter) {
      slot.counter = **counter;
    }
  }
  const auto read = maps.slot_reasons.each([&](const mt_slot_reason& key, std::uint64_t count) {
    const auto found = by_number.find(key.slot);
    if (found != by_number.end() && key.reason < reasons().size()) {
      found->second->reasons.emplace(reasons()[key.reason].name, count);
    }
  });
  if (!read) {
    log::warn("{}", read.error().message);
  }
}

void read_counters(const Maps& maps, SlotStatus& slot) {
  if (const auto counter = maps.counters.get(slot.slot); counter && *counter) {
    slot.counter = **counter;
  }
  for (std::uint32_t reason = 0; reason < reasons().size(); ++reason) {
    if (const auto count = maps.slot_reasons.get({slot.slot, reason}); count && *count) {
      slot.reasons.emplace(reasons()[reason].name, **count);
    }
  }
}

}  // namespace metatap::dataplane
