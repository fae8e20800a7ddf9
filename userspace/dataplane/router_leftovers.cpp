// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_leftovers.hpp"

#include <algorithm>
#include <cstring>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

bool same(const mt_slot& left, mt_slot row) {
  row.generation = left.generation;
  return std::memcmp(&left, &row, sizeof(row)) == 0;
}

bool before(const mt_source_key& a, const mt_source_key& b) {
  return std::memcmp(&a, &b, sizeof(a)) < 0;
}
bool equal(const mt_source_key& a, const mt_source_key& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

template <class Key>
void erase(const BpfMap<Key, std::uint32_t>& map, const Key& key) {
  if (const auto gone = map.erase(key); !gone) {
    log::error("router data plane: {}", gone.error().message);
  }
}

}  // namespace

Result<RouterLeftovers> RouterLeftovers::read(const Maps& maps) {
  RouterLeftovers left;
  const auto devices = maps.devices.each([&](const mt_device_key& key, std::uint32_t slot) {
    left.devices_.push_back({key, slot});
    left.first_free_place_ = std::max(left.first_free_place_, key.place + 1);
  });
  const auto sources = maps.sources.each([&](const mt_source_key& key, std::uint32_t slot) {
    left.ports_[key.device_slot][slot].push_back(key);
  });
  if (!devices || !sources) {
    return tl::make_unexpected(devices ? sources.error() : devices.error());
  }
  return left;
}

std::optional<std::uint32_t> RouterLeftovers::take_device(const SlotTable& slots,
                                                          const mt_device_key& key, mt_slot row) {
  for (const auto& device : devices_) {
    if (device.key.place == key.place && device.key.ifindex == key.ifindex) {
      const auto left = slots.read(device.slot);
      return left && same(*left, row) ? std::optional(device.slot) : std::nullopt;
    }
  }
  return std::nullopt;
}

std::optional<std::uint32_t> RouterLeftovers::take_port(const SlotTable& slots, mt_slot row,
                                                        std::vector<mt_source_key> keys) {
  const auto of_device = ports_.find(row.device_slot);
  if (of_device == ports_.end()) {
    return std::nullopt;
  }
  std::ranges::sort(keys, before);
  for (auto& [slot, led] : of_device->second) {
    std::ranges::sort(led, before);
    if (!std::ranges::equal(led, keys, equal)) {
      continue;
    }
    const auto left = slots.read(slot);
    if (!left || !same(*left, row)) {
      return std::nullopt;
    }
    const auto taken = slot;
    of_device->second.erase(taken);
    return taken;
  }
  return std::nullopt;
}

SlotNumbers RouterLeftovers::let_go(const Maps& maps, SlotTable& slots, std::uint32_t place) {
  SlotNumbers gone;
  std::erase_if(devices_, [&](const Device& device) {
    if (device.key.place != place) {
      return false;
    }
    erase(maps.devices, device.key);
    gone.insert(device.slot);
    erase_ports(maps, device.slot, gone);
    return true;
  });
  // Of these, what was adopted is no orphan any more.
  return slots.drop_orphans(
      [&](std::uint32_t slot, const mt_slot&) { return gone.contains(slot); });
}

SlotNumbers RouterLeftovers::let_all_go(const Maps& maps, SlotTable& slots) {
  SlotNumbers gone;
  for (const auto& device : std::exchange(devices_, {})) {
    erase(maps.devices, device.key);
  }
  while (!ports_.empty()) {
    erase_ports(maps, ports_.begin()->first, gone);
  }
  return slots.drop_orphans([](std::uint32_t, const mt_slot& row) {
    return row.kind == MT_KIND_ROUTER_DEVICE || row.kind == MT_KIND_ROUTER_PORT;
  });
}

/// A key that leads to somebody else by now is that one's.
void RouterLeftovers::erase_ports(const Maps& maps, std::uint32_t device_slot, SlotNumbers& gone) {
  const auto ports = ports_.extract(device_slot);
  if (!ports) {
    return;
  }
  for (const auto& [slot, keys] : ports.mapped()) {
    gone.insert(slot);
    for (const auto& key : keys) {
      if (const auto now = maps.sources.get(key); !now || *now == slot) {
        erase(maps.sources, key);
      }
    }
  }
}

}  // namespace metatap::dataplane
