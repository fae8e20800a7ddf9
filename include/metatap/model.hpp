// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "metatap/table.hpp"

/// The inventory as values: Neutron-shaped networks, subnets, routers and ports, Nova-shaped
/// instances. Field names are those of the two APIs. Objects are immutable once published and
/// shared between threads by pointer-to-const.
namespace metatap {

/// Whether a guest must show a session token with its requests.
enum class TokenMode : std::uint8_t {
  off,       ///< there are none; whatever a request says of them means nothing
  optional,  ///< who shows one must show a good one
  required,
  ratchet,  ///< optional in the boot window and until the first good token; required from then on
};

/// What becomes of a connection that was forwarded inside the guest.
enum class ForwardedInside : std::uint8_t {
  count,   ///< served, under a reason of its own
  refuse,  ///< dropped
  allow,   ///< served and counted as any other: the guest is a router, and may be
};

/// How a guest may ask, where that is not as the configuration says: of a port, an instance or a
/// network, the first of which decides. "metatap" in a document.
struct AccessPolicy {
  std::optional<TokenMode> tokens;
  std::optional<std::chrono::seconds> boot_window;
  std::optional<bool> sealed;  ///< false: the configuration's sealed paths are open
  std::optional<std::vector<std::string>> read_once;  ///< in place of the configuration's patterns
  std::optional<ForwardedInside> forwarded_inside;
  std::optional<std::uint16_t> syn_rate;     ///< new connections a second of a port; 0: no limit
  std::optional<std::uint16_t> connections;  ///< open ones of a port
  bool operator==(const AccessPolicy&) const = default;
};

struct Network {
  std::string id, name, project_id;
  std::optional<int> mtu;
  bool admin_state_up = true;  ///< false: no metadata for any of its ports
  AccessPolicy access;
  bool operator==(const Network&) const = default;
};

struct HostRoute {
  std::string destination, nexthop;
  bool operator==(const HostRoute&) const = default;
};

struct Subnet {
  std::string id, network_id, name, cidr;
  int ip_version = 4;
  std::optional<std::string> gateway_ip;
  bool enable_dhcp = false;
  std::vector<std::string> dns_nameservers;
  std::vector<HostRoute> host_routes;
  std::optional<std::string> ipv6_address_mode;
  /// Metadata providers (edges such as NSX's) that ask for this subnet's guests.
  std::vector<std::string> advanced_service_providers;
  bool operator==(const Subnet&) const = default;
};

struct Router {
  std::string id, name, project_id;
  bool admin_state_up = true;
  bool operator==(const Router&) const = default;
};

struct FixedIp {
  std::string subnet_id, ip_address;
  bool operator==(const FixedIp&) const = default;
};

struct AddressPair {
  std::string ip_address;                  ///< an address or a CIDR
  std::optional<std::string> mac_address;  ///< absent: the port's own
  bool operator==(const AddressPair&) const = default;
};

enum class AddressPolicy : std::uint8_t {
  strict,  ///< only declared addresses may ask
  learn,   ///< whatever address the guest uses is taken as its own
};

enum class MacPolicy : std::uint8_t {
  own,  ///< frames come from the port's MAC, or from one of its address pairs'
  any,  ///< whatever MAC a frame comes from: a guest that bridges others
};

enum class WhenDown : std::uint8_t {
  pass,    ///< nobody listens: the guest's packet goes on, to whoever else may answer
  refuse,  ///< nobody listens: the packet is dropped
};

/// How metatap treats one port, where that is not as the configuration says for all. "metatap" in a
/// document; what is absent there is absent here.
struct PortTreatment {
  std::optional<WhenDown> when_down;  ///< a port on a tap; a router's never refuses
  bool operator==(const PortTreatment&) const = default;
};

struct Port {
  std::string id, network_id;
  std::string mac_address;  ///< lower case, colons; empty: not known, and mac_policy is any
  std::string device_id;    ///< instance or router uuid
  std::string device_owner, project_id;
  std::vector<FixedIp> fixed_ips;
  std::vector<AddressPair> allowed_address_pairs;
  bool admin_state_up = true;
  std::optional<std::string> device;  ///< host device, where it is not `tap` + 11 characters of id
  std::optional<int> vlan;            ///< tag of a trunk subport on `device`
  /// Neutron's binding: the host whose guest it is, and the one that guest is on its way to (live
  /// migration). Empty: not said, or none.
  std::string host, next_host;
  AddressPolicy address_policy = AddressPolicy::strict;
  MacPolicy mac_policy = MacPolicy::own;
  AccessPolicy access;
  PortTreatment treatment;
  /// Place among the ports of its device, in the order in which they were attached; decided when
  /// the port comes (fill_defaults.hpp) and kept. Ports of one place are in order of their ids.
  std::int64_t attached = 0;
  bool operator==(const Port&) const = default;
};

struct Keypair {
  std::string name, type, public_key;
  bool operator==(const Keypair&) const = default;
};

struct BlockDeviceMapping {
  std::optional<std::string> source_type, destination_type, guest_format, device_name, volume_id,
      tag;
  std::optional<int> boot_index, volume_size;
  bool operator==(const BlockDeviceMapping&) const = default;
};

struct DeviceMetadata {
  std::string kind;  ///< nic, disk, share
  std::optional<std::string> bus_type, bus_address, mac, serial, path, share_id, tag;
  std::optional<int> vlan;
  std::optional<bool> vf_trusted;
  /// A null, or an empty list, is not the same as absent.
  bool has_serial = false, has_path = false, has_tags = false;
  std::vector<std::string> tags;
  bool operator==(const DeviceMetadata&) const = default;
};

struct NumaCell {
  std::optional<int> id;
  std::vector<int> cpuset, pcpuset;
  bool operator==(const NumaCell&) const = default;
};

/// EC2 names of the instance and its images: allocated once, kept for ever, never reused.
struct Ec2Ids {
  std::optional<std::string> instance_id, ami_id, kernel_id, ramdisk_id;
  bool operator==(const Ec2Ids&) const = default;
};

struct PersonalityFile {
  std::string path;
  std::string contents;  ///< base64, as it came
  bool operator==(const PersonalityFile&) const = default;
};

struct Instance {
  std::string uuid, project_id, user_id, name, display_name, hostname;
  std::optional<int> launch_index = 0;
  std::optional<std::string> availability_zone, reservation_id, image_ref, kernel_id, ramdisk_id;
  Ec2Ids ec2_ids;
  std::optional<std::string> flavor_name, key_name, key_data;
  std::vector<Keypair> keypairs;
  std::vector<std::pair<std::string, std::string>> metadata;  ///< order kept
  std::map<std::string, std::string> system_metadata;         ///< password_0…3, boot_roles, …
  std::optional<std::string> user_data;                       ///< base64, as it came
  std::optional<std::string> vendor_data;                     ///< text, beside the operator's own
  std::optional<std::string> root_device_name, default_ephemeral_device, default_swap_device;
  std::vector<BlockDeviceMapping> block_device_mappings;
  std::optional<std::vector<DeviceMetadata>> device_metadata;
  std::optional<std::vector<NumaCell>> numa_topology;
  std::vector<std::string> security_groups;
  /// Nova's cached network model as JSON text (an array of VIFs), key order kept. Absent: derived
  /// from the instance's ports and their subnets. Text, because most of its keys are only carried.
  std::optional<std::string> network_info;
  std::vector<PersonalityFile> personality;
  bool config_drive = false;
  AccessPolicy access;
  bool operator==(const Instance&) const = default;
};

/// One consistent state of everything. Copies share what they have in common; the request path only
/// ever reads a published one.
struct Inventory {
  template <class T>
  using Table = metatap::Table<T>;

  std::uint64_t revision = 0;  ///< grows with every committed change
  Table<Network> networks;
  Table<Subnet> subnets;
  Table<Router> routers;
  Table<Port> ports;
  Table<Instance> instances;
};

/// What one commit changed: ids of objects added, then changed, then removed. A consumer that has
/// lost track may always rebuild from the inventory alone.
struct InventoryChange {
  std::shared_ptr<const Inventory> before, after;  ///< never null
  std::vector<std::string> networks, subnets, routers, ports, instances;

  [[nodiscard]] bool empty() const {
    return networks.empty() && subnets.empty() && routers.empty() && ports.empty() &&
           instances.empty();
  }
};

}  // namespace metatap
