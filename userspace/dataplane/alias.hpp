// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "metatap/abi/abi.h"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// A guest's address as the metadata namespace sees it (abi.h): which slot, the how manieth owner
/// of its number, which of the owner's addresses.
struct Alias {
  std::uint32_t slot = 0;        ///< at most MT_ALIAS_SLOT_MASK
  std::uint32_t generation = 0;  ///< at most MT_ALIAS_GENERATION_MASK
  std::uint32_t index = 0;       ///< at most MT_ALIAS_INDEX_MASK; v6: MT_LINK_LOCAL is fe80::/64
  bool operator==(const Alias&) const = default;

  /// nullopt: not an alias.
  static std::optional<Alias> of(const Address& address);
  [[nodiscard]] Address v4() const;
  /// `guest` with its prefix replaced; the sum of its 16-bit words stays the same.
  [[nodiscard]] Address v6(const Address& guest) const;

 private:
  [[nodiscard]] std::uint32_t value() const;
};

}  // namespace metatap::dataplane
