// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_status.hpp"

#include <unordered_map>

#include "base/log.hpp"
#include "dataplane/programs.hpp"

namespace metatap::dataplane {
namespace {

/// A slot has one way in: what happens to all of its packets has the same place whatever that is.
void take(SlotStatus& slot, const mt_counter& counter, std::uint32_t kind) {
  slot.counter = counter;
  const bool tap = kind == MT_KIND_TAP;
  const auto add = [&](mt_reason of_tap, mt_reason of_router, std::uint64_t count) {
    if (count != 0) {
      slot.reasons.emplace(reasons()[tap ? of_tap : of_router].name, count);
    }
  };
  add(MT_steered_v4, MT_router_v4, counter.steered_v4);
  add(MT_steered_v6, MT_router_v6, counter.steered_v6);
  add(MT_return_v4, MT_router_answer_v4, counter.answered_v4);
  add(MT_return_v6, MT_router_answer_v6, counter.answered_v6);
}

void read_counter(const Maps& maps, SlotStatus& slot) {
  const auto row = maps.slots.get(slot.slot);
  const auto counter = maps.counters.get(slot.slot);
  if (row && *row && counter && *counter) {
    take(slot, **counter, (*row)->kind);
  }
}

}  // namespace

void read_counters(const Maps& maps, std::vector<SlotStatus>& slots) {
  std::unordered_map<std::uint32_t, SlotStatus*> by_number;
  for (auto& slot : slots) {
    by_number.emplace(slot.slot, &slot);
    read_counter(maps, slot);
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
  read_counter(maps, slot);
  for (std::uint32_t reason = 0; reason < reasons().size(); ++reason) {
    if (const auto count = maps.slot_reasons.get({slot.slot, reason}); count && *count) {
      slot.reasons.emplace(reasons()[reason].name, **count);
    }
  }
}

}  // namespace metatap::dataplane
