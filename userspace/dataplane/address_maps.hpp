// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "dataplane/alias.hpp"
#include "dataplane/maps.hpp"
#include "dataplane/port_addresses.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// One owner of a slot number.
struct SlotOwner {
  std::uint32_t slot = 0, generation = 0;
  auto operator<=>(const SlotOwner&) const = default;
};

/// mt_addresses, mt_aliases and mt_prefixes: what the programs know of ports' addresses. Every row
/// names slot and generation, so none of it serves another port. Control thread, but for learned().
class AddressMaps {
 public:
  /// `maps` outlives this; null, without BPF: there is nothing to write.
  explicit AddressMaps(const Maps* maps) : maps_(maps) {}

  /// Writes what differs: takes away first, and of a new address the way back before the way in.
  [[nodiscard]] Status change(SlotOwner owner, const PortAddresses& before,
                              const PortAddresses& after) const;
  /// Forgets the addresses that the programs have learned, but for those to keep.
  [[nodiscard]] Status forget_learned(SlotOwner owner,
                                      const std::function<bool(const Address&)>& keep) const;
  /// Those that it has learned, each with the MAC that it was seen with.
  [[nodiscard]] std::vector<std::pair<Address, MacAddress>> learned(SlotOwner owner) const;
  /// What the guest behind a device that no port has yet has asked from, each with its alias and
  /// the MAC that it was first seen with.
  struct Met {
    PortAddresses addresses;
    std::uint64_t learned_v4 = 0, learned_v6 = 0;  ///< so many the programs have tried to learn
    bool whole = true;  ///< false: one of them is being learned just now, or found no room
    [[nodiscard]] bool as_many_as(const Met& other) const {
      return learned_v4 == other.learned_v4 && learned_v6 == other.learned_v6;
    }
  };
  [[nodiscard]] Result<Met> met(SlotOwner owner) const;
  /// The address that `alias` stands for, as the programs have it. Any thread; one system call.
  [[nodiscard]] std::optional<Address> address_of(const Alias& alias, int family) const;
  /// The configured rows that are there now. Fixed or not, nobody knows any more.
  [[nodiscard]] Result<std::map<SlotOwner, PortAddresses>> read() const;

 private:
  /// Calls `use` for each row of the learned ones.
  [[nodiscard]] Status each_learned(
      SlotOwner owner, const std::function<void(const mt_alias_key&, const mt_alias&)>& use) const;
  [[nodiscard]] Status give(SlotOwner owner, const PortAddresses::Own& own) const;
  [[nodiscard]] Status take(SlotOwner owner, const PortAddresses::Own& own) const;
  const Maps* maps_;
};

}  // namespace metatap::dataplane
