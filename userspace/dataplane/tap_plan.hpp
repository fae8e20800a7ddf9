// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/options.hpp"
#include "dataplane/port_addresses.hpp"
#include "metatap/abi/abi.h"
#include "metatap/model.hpp"

/// What the inventory wants of the host's own namespace, as plain values: no kernel in here.
namespace metatap::dataplane {

/// Where a guest is plugged in: a device of the host and, on a trunk, a VLAN.
struct TapPoint {
  std::string device;
  std::uint16_t vlan = 0;  ///< 0: untagged
  auto operator<=>(const TapPoint&) const = default;
};

/// A device that is there now.
struct TapDevice {
  unsigned ifindex = 0;
  /// The MAC that libvirt or Nova gave it: a guest's, with fe in front. A name such as vnet7 goes
  /// from one guest to another; this says whose it is now.
  std::optional<MacAddress> given_mac;
};

/// The inventory by the devices that its ports name. Control thread.
///
/// A name such as vnet7 is on every host, and the guest behind it is the one that is bound to this
/// host. Neutron's names are made of their port's id, and there is one such device at a time: it is
/// that port's, also where the binding has not caught up, or spells the host in another way.
class TapIndex {
 public:
  using Claims = std::map<TapPoint, std::set<std::string>>;  ///< ids of ports

  /// `host`: this one, as ports are bound to it. Empty: all ports are taken for its own.
  explicit TapIndex(std::shared_ptr<const Inventory> inventory, std::string host = {});
  /// Follows a change. Returns the devices it concerns, those that a port leaves before those that
  /// one comes to: an address may have moved from one port to another.
  std::vector<std::string> apply(const InventoryChange& change);

  [[nodiscard]] const Inventory& inventory() const { return *inventory_; }
  [[nodiscard]] const std::string& host() const { return host_; }
  [[nodiscard]] const Claims& claims() const { return claims_; }
  /// Of ports that are left out, because the name says nothing and they are bound to other hosts.
  [[nodiscard]] const Claims& claims_elsewhere() const { return elsewhere_; }
  /// Who claims that point; may be empty.
  [[nodiscard]] const std::set<std::string>& claims_of(const TapPoint& point) const;
  /// Whether that port, one of the inventory's, is by its binding this host's or may be.
  [[nodiscard]] bool may_be_here(const std::string& port_id) const;
  /// Where that port's guest is plugged in, on whichever host; null: the port is none of the
  /// inventory's, or has no tap.
  [[nodiscard]] const TapPoint* plugged(const std::string& port_id) const;
  /// The points of one device that are claimed.
  [[nodiscard]] std::vector<TapPoint> points_of(std::string_view device) const;

 private:
  void add(const std::string& port_id);
  void remove(const std::string& port_id);
  void note(std::vector<std::string>& devices, const std::string& port_id) const;

  std::shared_ptr<const Inventory> inventory_;
  const std::string host_;
  Claims claims_, elsewhere_;
  std::map<std::string, TapPoint> point_of_;  ///< by port id
};

/// One point's identity.
struct TapPlan {
  std::string port_id, network_id;  ///< empty: no port is known
  bool enabled = true;              ///< admin_state_up of port and network
  bool foreign = false;  ///< the device was given another guest's MAC: it is not this port's
  mt_slot row{};
  PortAddresses addresses;
};

/// Of several ports that claim a point, those that may be here by their binding come first, and of
/// these `holder`, who has it already, keeps it. Of several that are bound to other hosts it is
/// nobody's. nullopt: nobody has it.
[[nodiscard]] std::optional<TapPlan> plan_tap(const TapIndex& index, const TapPoint& point,
                                              const TapDevice& device, std::string_view holder,
                                              const DataPlaneOptions& options);

/// A device of ours that no port claims: whoever is behind it may connect, from any address and
/// MAC, and waits until it is known who that is. Nothing of it goes elsewhere, and nothing that was
/// forwarded is let in: the port may say that it must not be.
[[nodiscard]] TapPlan plan_unknown(const TapPoint& point, const TapDevice& device);

/// Was the device given a MAC that is not for this port, which claims it at `point`?
[[nodiscard]] bool is_foreign(const TapIndex& index, const TapPoint& point, const TapDevice& device,
                              const Port& port);

}  // namespace metatap::dataplane
