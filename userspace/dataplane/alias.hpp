// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "metatap/abi/abi.h"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// A guest's address as the metadata namespace sees it (abi.h): which slot, which of its
/// addresses.
struct Alias {
  std::uint32_t slot = 0;
  std::uint32_t index = 0;  ///< v6: MT_LINK_LOCAL, or 1 + place in mt_slot::v6
  bool operator==(const Alias&) const = default;

  /// nullopt: not an alias.
  static std::optional<Alias> of(const sys::IpAddress& address);
  [[nodiscard]] sys::IpAddress v4() const;
  /// `guest` with its prefix replaced; the sum of its 16-bit words stays the same.
  [[nodiscard]] sys::IpAddress v6(const sys::IpAddress& guest) const;
  /// The guest's address behind `alias`, which is an alias of `row`. nullopt: it has none there.
  static std::optional<sys::IpAddress> resolve(const sys::IpAddress& alias, const mt_slot& row);
};

}  // namespace metatap::dataplane
