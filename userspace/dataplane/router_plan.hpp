// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/place.hpp"
#include "dataplane/port_policy.hpp"
#include "metatap/model.hpp"
#include "metatap/origin.hpp"
#include "sys/netlink.hpp"

/// What the inventory wants of a router's or DHCP namespace, as plain values: no kernel in here.
namespace metatap::dataplane {

/// The inventory by what is known inside a namespace. Control thread.
class PortIndex {
 public:
  explicit PortIndex(std::shared_ptr<const Inventory> inventory);
  /// Follows a change in time proportional to it.
  void apply(const InventoryChange& change);

  [[nodiscard]] const Inventory& inventory() const { return *inventory_; }
  [[nodiscard]] const std::set<std::string>& ports_of(std::string_view network_id) const;
  /// Of those, the ones that are no guest's: interfaces of routers and DHCP servers.
  [[nodiscard]] const std::set<std::string>& network_owned_ports_of(
      std::string_view network_id) const;
  /// Ids that begin with these 11 characters, as device names have them.
  [[nodiscard]] const std::set<std::string>& ports_named(std::string_view id_prefix) const;
  [[nodiscard]] bool has_v6(std::string_view network_id) const;

 private:
  using Sets = std::map<std::string, std::set<std::string>, std::less<>>;
  void add(const Port& port);
  void remove(const Port& port);

  std::shared_ptr<const Inventory> inventory_;
  Sets by_network_, network_owned_, by_prefix_, v6_subnets_;
};

/// A guest's port behind a device.
struct RouterSource {
  std::string port_id, project_id;
  std::vector<Address> addresses;
  MacAddress mac{};
  bool enabled = true;  ///< admin_state_up of the port
  PortPolicy policy;
  bool operator==(const RouterSource&) const = default;
};

/// A device whose guests we serve.
struct RouterDevice {
  std::string name;
  unsigned ifindex = 0;
  std::string port_id;  ///< of the device itself; may be empty for a DHCP device
  std::string network_id, router_id;
  bool enabled = true;  ///< admin_state_up of network and device port
  /// Guests may ask fe80::a9fe:a9fe: the network has an IPv6 subnet, or they are on the link of a
  /// DHCP server, where that address needs none; and the device can carry IPv6.
  bool v6 = false;
  std::vector<RouterSource> sources;
  bool operator==(const RouterDevice&) const = default;
};

/// Why a device is not served.
struct RouterProblem {
  std::string device;
  DeviceState state = DeviceState::unknown;  ///< unknown, foreign, conflict
  /// unknown: what its name says of a port's id, and how many ports begin so; empty: its name says
  /// nothing. foreign: whose the port is. conflict: the namespace that has the port already.
  std::string about;
  std::size_t ports = 0;
  std::string port_id;
  bool operator==(const RouterProblem&) const = default;
};

struct PlacePlan {
  /// served, unknown or down.
  PlaceState state = PlaceState::served;
  std::vector<RouterDevice> devices;
  std::vector<RouterProblem> problems;
};

/// Is this a device behind which a place of that kind has guests? `qr-…`; `tap…` or `ns-…`.
[[nodiscard]] bool faces_guests(Path path, std::string_view device);

[[nodiscard]] PlacePlan plan_place(const PortIndex& index, const PlaceName& place,
                                   const std::vector<sys::Link>& links);

/// The link-local address that a guest's MAC makes (RFC 4291, appendix A).
[[nodiscard]] Address link_local_of(const MacAddress& mac);

}  // namespace metatap::dataplane
