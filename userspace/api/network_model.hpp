// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/inventory_index.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// Nova's network model (nova/network/model.py), cut down to what metadata is made of.
namespace metatap::api {

struct VifRoute {
  std::string cidr, gateway;
};

struct VifIp {
  std::string address;
  std::vector<std::string> floating_ips;
};

struct VifSubnet {
  std::string cidr;
  int version = 4;
  std::optional<std::string> gateway, dhcp_server, ipv6_address_mode;
  bool enable_dhcp = false;
  std::vector<std::string> dns;
  std::vector<VifIp> ips;
  std::vector<VifRoute> routes;
};

struct Vif {
  std::string id, type, devname;
  std::optional<std::string> address;  ///< MAC
  std::string network_id;
  std::optional<std::string> mtu;  ///< as it is printed
  bool injected = false;
  bool has_network = false;
  std::vector<VifSubnet> subnets;
};

using NetworkModel = std::vector<Vif>;

/// From Nova's cache (`instance_info_caches.network_info`). ErrorCode::invalid: not a list of VIFs.
[[nodiscard]] Result<NetworkModel> network_model_from_json(std::string_view network_info);
/// What the cache leaves open of an interface (MAC, network), from the instance's port of that id.
void complete_from_ports(NetworkModel& model, const InventoryIndex& index,
                         std::string_view instance_id);
/// From the instance's ports, their networks and subnets, as Nova would have built it. A port whose
/// addresses are learned is of a network with DHCP; one whose MAC is not known is left out.
[[nodiscard]] NetworkModel network_model_from_ports(const InventoryIndex& index,
                                                    std::string_view instance_id);

/// network_data.json (nova/virt/netutils.py).
[[nodiscard]] std::string network_data_json(const NetworkModel& model);
/// The interfaces(5) file of a network that is injected, or nullopt where nothing is.
[[nodiscard]] std::optional<std::string> injected_interfaces(const NetworkModel& model);

/// The first fixed IPv4 address, or nullopt.
[[nodiscard]] std::optional<std::string> first_ipv4(const NetworkModel& model);
/// The first floating address, or an empty string.
[[nodiscard]] std::string first_floating_ip(const NetworkModel& model);

}  // namespace metatap::api
