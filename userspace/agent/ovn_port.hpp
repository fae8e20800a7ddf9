// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/ovsdb_value.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// What rows of OVN's southbound database say of a port, as Neutron's ML2/OVN driver
/// (ovn_client.py) and ovn-northd write them. No database in here.
namespace metatap::agent {

/// What Open vSwitch knows of a port's device on this host: a row of its Interface table.
struct OvnTap {
  std::string port;       ///< external_ids:iface-id
  std::string name;       ///< of the device
  std::string guest_mac;  ///< external_ids:attached-mac; may be empty
  std::string instance;   ///< vm-uuid (Nova) or vm-id (libvirt); empty: not said, or not agreed on
  bool present = false;   ///< has an ifindex: the device is really there
};

/// nullopt: it is no port's, as most are not: bridges, tunnels, uplinks.
[[nodiscard]] std::optional<OvnTap> ovn_tap(const OvsdbRow& interface);

/// A Port_Binding row that cannot be served, and what it lacks.
struct OvnSkipped {
  enum class Reason : std::uint8_t { name, network, owner, mac, tag, parent };
  static constexpr auto kReasons = {Reason::name, Reason::network, Reason::owner,
                                    Reason::mac,  Reason::tag,     Reason::parent};
  Reason reason = Reason::name;
  std::string text;  ///< "its mac column is empty"
  bool operator==(const OvnSkipped&) const = default;
};
/// "no_mac": for metrics.
[[nodiscard]] std::string_view name_of(OvnSkipped::Reason reason);

/// All that says who a port is.
struct OvnSources {
  const OvsdbRow& binding;           ///< its Port_Binding
  const OvsdbRow& datapath;          ///< its Datapath_Binding
  const OvsdbRow* parent = nullptr;  ///< of a trunk's subport: the Port_Binding of its parent port
  const OvnTap* tap = nullptr;       ///< its own; of a subport, its parent's
};

/// The port, or why there is none.
///
/// Its addresses are `neutron:cidrs`; its MAC is that of the `mac` element that has one of them,
/// for the elements are in no order and others are of address pairs (VRRP). Where none has, because
/// the port has neither port security nor DHCP and `mac` says "unknown", or has no addresses at
/// all, it is the MAC with which its device was plugged, or the only one there is. Without
/// `neutron:cidrs` (not Neutron's row, or an old one) the addresses are those of the first element
/// that has any.
///
/// Address pairs are what `port_security` allows beyond that, or the `mac` elements where the
/// schema has no such column. "unknown" among `mac` is how OVN says that whatever MAC may be behind
/// the port. A subport belongs to the instance of its parent where Neutron says nothing else.
[[nodiscard]] tl::expected<Port, OvnSkipped> ovn_port(const OvnSources& sources);

}  // namespace metatap::agent
