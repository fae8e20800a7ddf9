// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>

#include "inventory/metatap_key.hpp"
#include "inventory/read_objects.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

using namespace json;  // NOLINT: the words of the tables

constexpr auto kTags = {"created_at", "updated_at", "revision_number", "description", "tags"};

std::vector<std::string_view> ignoring(std::initializer_list<std::string_view> names) {
  std::vector<std::string_view> all(names);
  all.insert(all.end(), kTags.begin(), kTags.end());
  return all;
}

/// Neutron says the project twice; this is the older word.
template <class T>
Field<T> tenant() {
  return special<T>("tenant_id", {Shape::Kind::text}, "`project_id` by its older name",
                    [](const Node& at, T& into) {
                      if (into.project_id.empty()) {
                        into.project_id = at.text();
                      }
                    });
}

template <class T>
Field<T> up(std::string_view note) {
  return boolean<&T::admin_state_up>("admin_state_up", note);
}

const Keys<HostRoute>& route_keys() {
  static const Keys<HostRoute> keys{
      {field<&HostRoute::destination>("destination", {Shape::Kind::network}, "Whither",
                                      Need::required, network_of),
       address<&HostRoute::nexthop>("nexthop", "By which gateway", Need::required)},
      {},
      nullptr};
  return keys;
}

/// All addresses of a subnet are of one family.
void settle_subnet(const Node& node, Subnet& subnet) {
  auto& mistakes = node.reading().mistakes;
  const auto cidr = Prefix::parse(subnet.cidr);
  if (!cidr) {
    return;
  }
  const int family = family_of(subnet.cidr);
  if (cidr->address != cidr->network()) {
    mistakes.add(node.pointer_to("cidr"), in_quotes(subnet.cidr) + " has host bits set; " +
                                              cidr->masked().text() + " may be meant");
  }
  if (!says(node, "ip_version")) {
    subnet.ip_version = family;
  } else if (subnet.ip_version != family) {
    mistakes.add(node.pointer_to("ip_version"), "the cidr is of IPv" + std::to_string(family));
  }
  if (subnet.gateway_ip && family_of(*subnet.gateway_ip) != family) {
    mistakes.add(node.pointer_to("gateway_ip"),
                 *subnet.gateway_ip + " is not of the subnet's IP version");
  }
  for (std::size_t index = 0; index < subnet.host_routes.size(); ++index) {
    const auto& route = subnet.host_routes[index];
    const auto at = node.pointer_to("host_routes") + "/" + std::to_string(index);
    if (family_of(route.destination) != family) {
      mistakes.add(at + "/destination", "not of the subnet's IP version");
    }
    if (family_of(route.nexthop) != family) {
      mistakes.add(at + "/nexthop", route.nexthop + " is not of the subnet's IP version");
    }
  }
  if (subnet.ipv6_address_mode && family != 6) {
    mistakes.add(node.pointer_to("ipv6_address_mode"), "only an IPv6 subnet has one");
  }
}

const Keys<FixedIp>& fixed_ip_keys() {
  static const Keys<FixedIp> keys{
      {id<&FixedIp::subnet_id>("subnet_id",
                               "Its subnet; may be left out where one alone of the network's "
                               "contains the address"),
       address<&FixedIp::ip_address>("ip_address", "The address", Need::required)},
      {},
      nullptr};
  return keys;
}

const Keys<AddressPair>& pair_keys() {
  static const Keys<AddressPair> keys{
      {field<&AddressPair::ip_address>("ip_address", {Shape::Kind::address_or_network},
                                       "An address, or a network of which any address will do",
                                       Need::required, address_or_network_of),
       mac<&AddressPair::mac_address>("mac_address", "With which MAC; default: the port's own")},
      {},
      nullptr};
  return keys;
}

Field<Port> device_key() {
  return field<&Port::device>(
      "device", {Shape::Kind::text},
      "The host's device, where it is not `tap` and the first 11 characters of the id",
      Need::optional, [](const Node& at) {
        constexpr std::size_t kLongest = 15;  // IFNAMSIZ - 1
        const auto& name = at.text();
        const bool fits = !name.empty() && name.size() <= kLongest && name != "." && name != ".." &&
                          std::ranges::all_of(name, [](char c) {
                            return c > ' ' && c < 0x7f && c != '/' && c != ':';
                          });
        if (!fits) {
          at.refuse(in_quotes(name) + " cannot be the name of a device");
        }
        return name;
      });
}

Field<Port> host_key(std::string_view name, std::string_view note) {
  return special<Port>(name, {Shape::Kind::text}, note, [](const Node& at, Port& into) {
    if (!at.text().empty()) {  // bound nowhere
      into.host = at.text();
    }
  });
}

/// Neutron's plugins keep in it what they like; one thing is for everybody.
Field<Port> profile_key() {
  return special<Port>("binding:profile", {Shape::Kind::carried},
                       "`migrating_to` in it is the host that its guest is on its way to; nothing "
                       "comes of the rest",
                       [](const Node& at, Port& into) {
                         if (at.json().is_object() && says(at, "migrating_to")) {
                           const auto& next = at.json()["migrating_to"];
                           into.next_host = Node(next, at, "migrating_to").text();
                         }
                       });
}

/// Of a port without port security anything may come, as on Neutron's own switch; a port whose MAC
/// is not known is one of these.
void settle_port(const Node& node, Port& port) {
  const auto secured = node.json().find("port_security_enabled");
  if (secured != node.json().end() && secured->is_boolean() && !secured->get<bool>()) {
    port.mac_policy = says(node, "mac_policy") ? port.mac_policy : MacPolicy::any;
    port.address_policy = says(node, "address_policy") ? port.address_policy : AddressPolicy::learn;
  }
  if (!says(node, "mac_address") && port.mac_policy == MacPolicy::own) {
    node.refuse("\"mac_address\" is required, or \"mac_policy\": \"any\"");
  }
}

}  // namespace

const Keys<Network>& network_keys() {
  constexpr int kSmallestMtu = 68, kLargestMtu = 65535;
  static const Keys<Network> keys{
      {id<&Network::id>("id", "Its uuid, or any id", Need::required),
       text<&Network::name>("name", "A name for people"),
       text<&Network::project_id>("project_id", "Whose it is"), tenant<Network>(),
       integer<&Network::mtu>("mtu", kSmallestMtu, kLargestMtu,
                              "What guests are told in network_data.json"),
       up<Network>("false: no metadata for any of its ports"), metatap_key<Network>()},
      ignoring({"status",
                "shared",
                "router:external",
                "provider:network_type",
                "provider:physical_network",
                "provider:segmentation_id",
                "availability_zones",
                "availability_zone_hints",
                "ipv4_address_scope",
                "ipv6_address_scope",
                "is_default",
                "l2_adjacency",
                "port_security_enabled",
                "qos_policy_id",
                "subnets",
                "segments",
                "vlan_transparent",
                "vlan_qinq",
                "qinq",
                "dns_domain"}),
      nullptr};
  return keys;
}

const Keys<Subnet>& subnet_keys() {
  static const Keys<Subnet> keys{
      {id<&Subnet::id>("id", "Its uuid, or any id", Need::required),
       id<&Subnet::network_id>("network_id", "Its network", Need::required),
       text<&Subnet::name>("name", "A name for people"),
       field<&Subnet::cidr>("cidr", {Shape::Kind::network}, "Its addresses", Need::required,
                            network_of),
       integer<&Subnet::ip_version>("ip_version", 4, 6, "4 or 6; default: as the cidr has it"),
       address<&Subnet::gateway_ip>("gateway_ip", "The router guests are told of"),
       boolean<&Subnet::enable_dhcp>("enable_dhcp",
                                     "true: network_data.json tells guests to use DHCP; false "
                                     "(default): it gives them their address"),
       list<&Subnet::dns_nameservers>("dns_nameservers", {Shape::Kind::address},
                                      "Name servers guests are told of", address_of),
       objects<&Subnet::host_routes>("host_routes", route_keys(), "Routes guests are told of"),
       choice<&Subnet::ipv6_address_mode>("ipv6_address_mode",
                                          {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"},
                                          "How an IPv6 address is come by"),
       texts<&Subnet::advanced_service_providers>(
           "advanced_service_providers",
           "Metadata providers (NSX's edges) that ask for its guests")},
      ignoring({"tenant_id", "project_id", "allocation_pools", "subnetpool_id",
                "use_default_subnetpool", "prefixlen", "ipv6_ra_mode", "segment_id",
                "service_types", "dns_publish_fixed_ip", "router:external"}),
      settle_subnet};
  return keys;
}

const Keys<Router>& router_keys() {
  static const Keys<Router> keys{{id<&Router::id>("id", "Its uuid", Need::required),
                                  text<&Router::name>("name", "A name for people"),
                                  text<&Router::project_id>("project_id", "Whose it is"),
                                  tenant<Router>(), up<Router>("false: no metadata through it")},
                                 ignoring({"status",
                                           "external_gateway_info",
                                           "external_gateways",
                                           "distributed",
                                           "ha",
                                           "ha_vr_id",
                                           "routes",
                                           "flavor_id",
                                           "service_type_id",
                                           "availability_zones",
                                           "availability_zone_hints",
                                           "conntrack_helpers",
                                           "enable_ndp_proxy",
                                           "enable_default_route_bfd",
                                           "enable_default_route_ecmp",
                                           "interfaces_info",
                                           "gw_port_host",
                                           "gw_port_id",
                                           "qos_policy_id",
                                           "evpn_vni"}),
                                 nullptr};
  return keys;
}

const Keys<Port>& port_keys() {
  constexpr int kLastVlan = 4094;
  static const Keys<Port> keys{
      {id<&Port::id>("id", "Its uuid, or any id", Need::required),
       id<&Port::network_id>("network_id", "Its network", Need::required),
       mac<&Port::mac_address>("mac_address",
                               "The guest's MAC; needed unless `mac_policy` is `any`"),
       text<&Port::device_id>("device_id", "The uuid of its instance, or of its router"),
       text<&Port::device_owner>("device_owner",
                                 "What it is for: `compute:…`, `network:router_interface`, "
                                 "`network:dhcp`; `network:…` is no guest"),
       text<&Port::project_id>("project_id", "Whose it is; default: its instance's or network's"),
       tenant<Port>(),
       objects<&Port::fixed_ips>("fixed_ips", fixed_ip_keys(), "From which it may ask"),
       objects<&Port::allowed_address_pairs>("allowed_address_pairs", pair_keys(),
                                             "From which else it may ask"),
       up<Port>("false: no metadata for it"), device_key(),
       integer<&Port::vlan>("vlan", 1, kLastVlan, "Its tag on `device`, for a port of a trunk"),
       option<&Port::address_policy, AddressPolicy>(
           "address_policy", {{"strict", AddressPolicy::strict}, {"learn", AddressPolicy::learn}},
           "`strict` (default): only declared addresses may ask; `learn`: whatever address the "
           "guest uses"),
       option<&Port::mac_policy, MacPolicy>(
           "mac_policy", {{"own", MacPolicy::own}, {"any", MacPolicy::any}},
           "`own` (default): frames come from its MAC, or one of its address pairs'; `any`: from "
           "whatever MAC"),
       special<Port>("port_security_enabled", {Shape::Kind::boolean},
                     "false: `mac_policy` is `any` and `address_policy` is `learn` unless said "
                     "otherwise",
                     [](const Node& at, Port&) { static_cast<void>(at.boolean()); }),
       host_key("binding:host_id",
                "The host it is bound to. A `device` may be one port's of each host"),
       host_key("binding_host_id", "The same as Neutron's command line calls it"), profile_key(),
       metatap_key<Port>()},
      ignoring({"name",
                "status",
                "security_groups",
                "binding:vif_details",
                "binding:vif_type",
                "binding:vnic_type",
                "dns_name",
                "dns_domain",
                "dns_assignment",
                "extra_dhcp_opts",
                "device_profile",
                "hints",
                "ip_allocation",
                "mac_learning_enabled",
                "numa_affinity_policy",
                "propagate_uplink_status",
                "qos_policy_id",
                "qos_network_policy_id",
                "resource_request",
                "trunk_details",
                "trusted",
                "hardware_offload_type",
                "data_plane_status",
                "uplink_status_propagation"}),
      settle_port};
  return keys;
}

}  // namespace metatap
