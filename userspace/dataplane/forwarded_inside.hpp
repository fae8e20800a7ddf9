// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "metatap/abi/abi.h"
#include "metatap/model.hpp"

/// Connections that a guest forwards for others: what its port, or else its network, says of them.
namespace metatap::dataplane {

/// nullopt: neither says anything, and the configuration decides.
[[nodiscard]] inline std::optional<ForwardedInside> forwarded_inside_of(const Inventory& inventory,
                                                                        const Port& port) {
  if (port.access.forwarded_inside) {
    return port.access.forwarded_inside;
  }
  const auto network = inventory.networks.find(port.network_id);
  return network == inventory.networks.end() ? std::nullopt
                                             : network->second->access.forwarded_inside;
}

/// As mt_slot::flags.
[[nodiscard]] constexpr std::uint32_t flags_of(ForwardedInside forwarded) {
  switch (forwarded) {
    case ForwardedInside::refuse:
      return MT_SLOT_REFUSE_FORWARDED;
    case ForwardedInside::allow:
      return MT_SLOT_ALLOW_FORWARDED;
    case ForwardedInside::count:
      break;
  }
  return 0;
}

}  // namespace metatap::dataplane
