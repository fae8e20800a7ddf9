// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dataplane/maps.hpp"

namespace metatap::dataplane {

/// A steered identity's traffic.
struct SlotStatus {
  std::uint32_t slot = 0;
  std::string port_id, device;
  mt_counter counter{};
  std::map<std::string, std::uint64_t> reasons;
  std::uint64_t owner = 0;  ///< Origin::owner
};

/// Fills in counters and reasons of those slots. What cannot be read stays zero.
void read_counters(const Maps& maps, std::vector<SlotStatus>& slots);

/// Of one slot.
void read_counters(const Maps& maps, SlotStatus& slot);

}  // namespace metatap::dataplane
