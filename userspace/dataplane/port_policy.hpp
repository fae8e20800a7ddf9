// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "metatap/abi/abi.h"
#include "metatap/model.hpp"

/// What a port, or else its network, says of how its guest may ask: as much of AccessPolicy as the
/// programs go by.
namespace metatap::dataplane {

/// nullopt: neither says anything, and the configuration decides.
struct PortPolicy {
  std::optional<ForwardedInside> forwarded_inside;
  std::optional<std::uint16_t> syn_rate;
  bool operator==(const PortPolicy&) const = default;
};

[[nodiscard]] inline PortPolicy policy_of(const Inventory& inventory, const Port& port) {
  PortPolicy policy{port.access.forwarded_inside, port.access.syn_rate};
  if (const auto network = inventory.networks.find(port.network_id);
      network != inventory.networks.end()) {
    const auto& access = network->second->access;
    policy.forwarded_inside =
        policy.forwarded_inside ? policy.forwarded_inside : access.forwarded_inside;
    policy.syn_rate = policy.syn_rate ? policy.syn_rate : access.syn_rate;
  }
  return policy;
}

/// Into the row of the port. `configured`: where the policy says nothing.
inline void write(const PortPolicy& policy, ForwardedInside configured, mt_slot& row) {
  switch (policy.forwarded_inside.value_or(configured)) {
    case ForwardedInside::refuse:
      row.flags |= MT_SLOT_REFUSE_FORWARDED;
      break;
    case ForwardedInside::allow:
      row.flags |= MT_SLOT_ALLOW_FORWARDED;
      break;
    case ForwardedInside::count:
      break;
  }
  row.syn_rate = policy.syn_rate.value_or(0);
  if (policy.syn_rate == 0) {
    row.flags |= MT_SLOT_NO_BUDGET;
  }
}

}  // namespace metatap::dataplane
