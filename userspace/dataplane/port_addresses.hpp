// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metatap/abi/abi.h"
#include "metatap/model.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// What a port may ask from as the inventory has it: values, no kernel.
struct PortAddresses {
  struct Own {
    Address address;
    MacAddress mac{};         ///< where answers go until another MAC is seen
    bool fixed = false;       ///< one of fixed_ips, not of an address pair
    std::uint32_t index = 0;  ///< in the alias; given by number()
    /// None that the port names, but it is admitted, and has had its alias before the port was
    /// known, or another process was here. It keeps it.
    bool met = false;
    auto operator<=>(const Own&) const = default;
  };
  std::vector<Own> addresses;            ///< fe80:: stands for all of the port's link-local ones
  std::vector<MacAddress> further_macs;  ///< of address pairs
  std::vector<Prefix> networks;          ///< address pairs with a prefix
  std::string first_fixed;               ///< as text; empty: the port has no fixed address
  bool any_mac = false;                  ///< the port says so, or its MAC is not known
  unsigned left_out = 0;                 ///< so many addresses more than there are indices
  auto operator<=>(const PortAddresses&) const = default;

  static PortAddresses of(const Port& port);
  /// Of a device that no port has yet: any.
  static PortAddresses of_nobody();
  /// The guest has asked already, from `met`, before the port was known: each address keeps its
  /// alias. False: not all of it is the port's, which has `own_mac` and may `learn` addresses.
  [[nodiscard]] bool include(const PortAddresses& met, const MacAddress& own_mac, bool learn);
  /// Those of `before` that were met and that the port still admits.
  void keep_met(const PortAddresses& before, bool learn);
  /// Answers go on to the MACs of `before`, from which the guest was seen to speak, where the port,
  /// which has `own_mac`, may still speak from them.
  void keep_macs(const PortAddresses& before, const MacAddress& own_mac);
  /// Gives each address its index: the one it has had in `before`, else one that is free in both.
  void number(const PortAddresses& before);

  [[nodiscard]] const Own* find(const Address& address) const;
  [[nodiscard]] const Own* find(int family, std::uint32_t index) const;
  /// mt_slot::first_v4: of a port with one MAC, what asks from there needs no search.
  [[nodiscard]] std::uint32_t first_v4() const;
  /// Within one of `networks`?
  [[nodiscard]] bool admits(const Address& address) const;
  /// Is `mac` one of the port's? `own` is its first.
  [[nodiscard]] bool has_mac(const MacAddress& own, const MacAddress& mac) const;

 private:
  /// May the port's frames come from it?
  [[nodiscard]] bool may_speak_from(const MacAddress& own, const MacAddress& mac) const {
    return any_mac || has_mac(own, mac);
  }
  /// As many as there are for one of each.
  [[nodiscard]] bool has_indices() const;
};

}  // namespace metatap::dataplane
