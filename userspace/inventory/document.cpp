// SPDX-License-Identifier: Apache-2.0
#include "inventory/document.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "inventory/address.hpp"
#include "inventory/hostname.hpp"
#include "inventory/json_reader.hpp"

namespace metatap {
namespace {

using json::in_quotes;
using json::Json;
using json::Node;
using json::Object;
using json::Refused;

constexpr std::string_view kFormat = "metatap-inventory/1";

// --- values -------------------------------------------------------------------------------------

std::string address_of(const Node& node) {
  const auto address = IpAddress::parse(node.text());
  if (!address) {
    node.refuse(in_quotes(node.text()) + " is not an IP address");
  }
  return address->str();
}

std::string mac_of(const Node& node) {
  auto mac = canonical_mac(node.text());
  if (!mac) {
    node.refuse(in_quotes(node.text()) + " is not a MAC address");
  }
  return *std::move(mac);
}

IpPrefix prefix_of(const Node& node) {
  const auto prefix = IpPrefix::parse(node.text());
  if (!prefix) {
    node.refuse(in_quotes(node.text()) + " is not a network in CIDR form");
  }
  return *prefix;
}

/// Base64 with blanks taken out; its contents are left alone.
std::string base64_of(const Node& node) {
  std::string text = node.text();
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
  const auto end = text.find_last_not_of('=') + 1;
  const bool alphabet = std::ranges::all_of(std::string_view(text).substr(0, end), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
  if (!alphabet || text.size() % 4 != 0 || text.size() - end > 2) {
    node.refuse("not base64");
  }
  return text;
}

std::string one_of(const Node& node, std::initializer_list<std::string_view> choices) {
  const auto& text = node.text();
  if (std::ranges::find(choices, text) == choices.end()) {
    std::string list;
    for (const auto choice : choices) {
      list += (list.empty() ? "" : ", ") + std::string(choice);
    }
    node.refuse(in_quotes(text) + " is none of " + list);
  }
  return text;
}

std::vector<std::string> texts_of(Object& object, std::string_view key) {
  std::vector<std::string> texts;
  object.each(key, [&](const Node& node) { texts.push_back(node.text()); });
  return texts;
}

std::string ec2_id_of(const Node& node, std::string_view prefix) {
  const std::string_view text = node.text();
  const auto digits = text.substr(std::min(prefix.size(), text.size()));
  const bool hex = std::ranges::all_of(
      digits, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!text.starts_with(prefix) || digits.size() < 8 || digits.size() > 17 || !hex) {
    node.refuse(in_quotes(text) + " is not " + std::string(prefix) + " and 8 hexadecimal digits");
  }
  return std::string(text);
}

// --- objects from JSON --------------------------------------------------------------------------

std::shared_ptr<Network> read_network(const Node& node) {
  constexpr int kSmallestMtu = 68;
  constexpr int kLargestMtu = 65535;
  Object in(node);
  auto network = std::make_shared<Network>();
  network->id = in.id("id");
  network->name = in.text("name");
  network->project_id = in.text("project_id");
  network->mtu = in.maybe_int("mtu", kSmallestMtu, kLargestMtu);
  network->admin_state_up = in.boolean("admin_state_up", true);
  in.done();
  return network;
}

std::shared_ptr<Subnet> read_subnet(const Node& node) {
  Object in(node);
  auto subnet = std::make_shared<Subnet>();
  subnet->id = in.id("id");
  subnet->network_id = in.id("network_id");
  subnet->name = in.text("name");
  const auto cidr_at = in.need("cidr");
  const auto cidr = prefix_of(cidr_at);
  if (cidr.address != cidr.network()) {
    cidr_at.refuse(in_quotes(cidr_at.text()) + " has host bits set; " +
                   IpPrefix{cidr.network(), cidr.length}.str() + " may be meant");
  }
  subnet->cidr = cidr.str();
  const auto version_at = in.need("ip_version");
  subnet->ip_version = static_cast<int>(version_at.integer(4, 6));
  if (subnet->ip_version != cidr.address.version) {
    version_at.refuse("the cidr is of IPv" + std::to_string(cidr.address.version));
  }
  const auto same_family = [&](const Node& at) {
    auto address = address_of(at);
    if (IpAddress::parse(address)->version != subnet->ip_version) {
      at.refuse(address + " is not of the subnet's IP version");
    }
    return address;
  };
  if (const auto gateway = in.find("gateway_ip")) {
    subnet->gateway_ip = same_family(*gateway);
  }
  subnet->enable_dhcp = in.boolean("enable_dhcp", false);
  in.each("dns_nameservers",
          [&](const Node& at) { subnet->dns_nameservers.push_back(address_of(at)); });
  in.each("host_routes", [&](const Node& at) {
    Object route(at);
    const auto destination_at = route.need("destination");
    const auto destination = prefix_of(destination_at);
    if (destination.address.version != subnet->ip_version) {
      destination_at.refuse("not of the subnet's IP version");
    }
    subnet->host_routes.push_back({destination.str(), same_family(route.need("nexthop"))});
    route.done();
  });
  if (const auto mode = in.find("ipv6_address_mode")) {
    subnet->ipv6_address_mode = one_of(*mode, {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"});
    if (subnet->ip_version != 6) {
      mode->refuse("only an IPv6 subnet has one");
    }
  }
  in.done();
  return subnet;
}

std::shared_ptr<Router> read_router(const Node& node) {
  Object in(node);
  auto router = std::make_shared<Router>();
  router->id = in.id("id");
  router->name = in.text("name");
  router->project_id = in.text("project_id");
  router->admin_state_up = in.boolean("admin_state_up", true);
  in.done();
  return router;
}

std::shared_ptr<Port> read_port(const Node& node) {
  constexpr std::size_t kLongestDevice = 15;  // IFNAMSIZ - 1
  constexpr int kLastVlan = 4094;
  Object in(node);
  auto port = std::make_shared<Port>();
  port->id = in.id("id");
  port->network_id = in.id("network_id");
  port->mac_address = mac_of(in.need("mac_address"));
  port->device_id = in.text("device_id");
  port->device_owner = in.text("device_owner");
  port->project_id = in.text("project_id");
  in.each("fixed_ips", [&](const Node& at) {
    Object fixed(at);
    port->fixed_ips.push_back({fixed.id("subnet_id"), address_of(fixed.need("ip_address"))});
    fixed.done();
  });
  in.each("allowed_address_pairs", [&](const Node& at) {
    Object in_pair(at);
    AddressPair pair;
    const auto address_at = in_pair.need("ip_address");
    pair.ip_address = address_at.text().find('/') == std::string::npos
                          ? address_of(address_at)
                          : prefix_of(address_at).str();
    if (const auto mac = in_pair.find("mac_address")) {
      pair.mac_address = mac_of(*mac);
    }
    in_pair.done();
    port->allowed_address_pairs.push_back(std::move(pair));
  });
  port->admin_state_up = in.boolean("admin_state_up", true);
  if (const auto device = in.find("device")) {
    port->device = device->text();
    const bool fits = !port->device->empty() && port->device->size() <= kLongestDevice &&
                      std::ranges::all_of(*port->device, [](char c) {
                        return c > ' ' && c < 0x7f && c != '/' && c != ':';
                      });
    if (!fits || *port->device == "." || *port->device == "..") {
      device->refuse(in_quotes(*port->device) + " cannot be the name of a device");
    }
  }
  port->vlan = in.maybe_int("vlan", 1, kLastVlan);
  if (const auto policy = in.find("address_policy")) {
    port->address_policy = one_of(*policy, {"strict", "learn"}) == "learn" ? AddressPolicy::learn
                                                                           : AddressPolicy::strict;
  }
  if (const auto policy = in.find("mac_policy")) {
    port->mac_policy = one_of(*policy, {"own", "any"}) == "any" ? MacPolicy::any : MacPolicy::own;
  }
  in.done();
  return port;
}

BlockDeviceMapping read_mapping(const Node& node) {
  Object in(node);
  BlockDeviceMapping mapping;
  mapping.source_type = in.maybe_text("source_type");
  mapping.destination_type = in.maybe_text("destination_type");
  mapping.guest_format = in.maybe_text("guest_format");
  mapping.device_name = in.maybe_text("device_name");
  mapping.boot_index = in.maybe_int("boot_index", INT32_MIN, INT32_MAX);
  mapping.volume_id = in.maybe_text("volume_id");
  mapping.volume_size = in.maybe_int("volume_size", 0, INT32_MAX);
  mapping.tag = in.maybe_text("tag");
  in.done();
  return mapping;
}

DeviceMetadata read_device(const Node& node) {
  constexpr int kLastVlan = 4095;
  Object in(node);
  DeviceMetadata device;
  device.kind = one_of(in.need("kind"), {"nic", "disk", "share"});
  if (const auto bus_at = in.find("bus")) {
    Object bus(*bus_at);
    device.bus_type = bus.maybe_text("type");
    device.bus_address = bus.maybe_text("address");
    bus.done();
  }
  if (const auto mac = in.find("mac")) {
    device.mac = mac_of(*mac);
  }
  device.vlan = in.maybe_int("vlan", 0, kLastVlan);
  if (const auto trusted = in.find("vf_trusted")) {
    device.vf_trusted = trusted->boolean();
  }
  device.has_serial = in.has("serial");
  device.serial = in.maybe_text("serial");
  device.has_path = in.has("path");
  device.path = in.maybe_text("path");
  device.share_id = in.maybe_text("share_id");
  device.tag = in.maybe_text("tag");
  device.has_tags = in.has("tags");
  device.tags = texts_of(in, "tags");
  in.done();
  return device;
}

NumaCell read_cell(const Node& node) {
  Object in(node);
  NumaCell cell;
  cell.id = in.maybe_int("id", 0, INT32_MAX);
  const auto cpus = [&](std::string_view key, std::vector<int>& into) {
    in.each(key,
            [&](const Node& cpu) { into.push_back(static_cast<int>(cpu.integer(0, INT32_MAX))); });
  };
  cpus("cpuset", cell.cpuset);
  cpus("pcpuset", cell.pcpuset);
  in.done();
  return cell;
}

// Nova's network cache is carried, with whatever keys it has; only the shape of what is read from
// it is checked: `member` looks one up, and what is absent or null is nobody's trouble.
void member(const Node& node, const char* key, const std::function<void(const Node&)>& check) {
  node.expect(node.json().is_object(), "an object");
  const auto found = node.json().find(key);
  if (found != node.json().end() && !found->is_null()) {
    check(Node(*found, node, std::string_view(key)));
  }
}

void check_text(const Node& node) {
  static_cast<void>(node.text());
}
void check_object(const Node& node) {
  node.expect(node.json().is_object(), "an object");
}

void check_addressed(const Node& node) {
  member(node, "address", [](const Node& at) { address_of(at); });
}

void check_vif(const Node& vif) {
  for (const auto* key : {"id", "type", "devname", "vnic_type"}) {
    member(vif, key, check_text);
  }
  member(vif, "address", [](const Node& at) { mac_of(at); });
  for (const auto* key : {"details", "profile", "meta"}) {
    member(vif, key, check_object);
  }
  member(vif, "network", [](const Node& network) {
    for (const auto* key : {"id", "label", "bridge"}) {
      member(network, key, check_text);
    }
    member(network, "meta", check_object);
    member(network, "subnets", [](const Node& subnets) {
      subnets.each([](const Node& subnet) {
        member(subnet, "cidr", [](const Node& at) { prefix_of(at); });
        member(subnet, "version", [](const Node& at) { static_cast<void>(at.integer(4, 6)); });
        member(subnet, "meta", check_object);
        member(subnet, "gateway", check_addressed);
        member(subnet, "dns", [](const Node& list) { list.each(check_addressed); });
        member(subnet, "ips", [](const Node& list) {
          list.each([](const Node& ip) {
            check_addressed(ip);
            member(ip, "floating_ips",
                   [](const Node& floating) { floating.each(check_addressed); });
          });
        });
        member(subnet, "routes", [](const Node& list) {
          list.each([](const Node& route) {
            member(route, "cidr", [](const Node& at) { prefix_of(at); });
            member(route, "gateway", check_addressed);
          });
        });
      });
    });
  });
}

std::shared_ptr<Instance> read_instance(const Node& node) {
  constexpr std::size_t kLongestUserData = 65535;  // Nova's column
  Object in(node);
  auto instance = std::make_shared<Instance>();
  instance->uuid = in.id("uuid");
  instance->project_id = in.text("project_id");
  instance->user_id = in.text("user_id");
  instance->name = in.text("name");
  instance->display_name = in.text("display_name");
  instance->hostname = in.text("hostname");
  instance->launch_index = in.maybe_int("launch_index", 0, INT32_MAX).value_or(0);
  instance->availability_zone = in.maybe_text("availability_zone");
  instance->reservation_id = in.maybe_text("reservation_id");
  instance->image_ref = in.maybe_text("image_ref");
  instance->kernel_id = in.maybe_text("kernel_id");
  instance->ramdisk_id = in.maybe_text("ramdisk_id");
  if (const auto ids_at = in.find("ec2_ids")) {
    Object ids(*ids_at);
    const auto take = [&](std::string_view key, std::string_view prefix,
                          std::optional<std::string>& into) {
      if (const auto at = ids.find(key)) {
        into = ec2_id_of(*at, prefix);
      }
    };
    take("instance_id", "i-", instance->ec2_ids.instance_id);
    take("ami_id", "ami-", instance->ec2_ids.ami_id);
    take("kernel_id", "aki-", instance->ec2_ids.kernel_id);
    take("ramdisk_id", "ari-", instance->ec2_ids.ramdisk_id);
    ids.done();
  }
  if (const auto flavor_at = in.find("flavor")) {
    Object flavor(*flavor_at);
    instance->flavor_name = flavor.maybe_text("name");
    flavor.done();
  }
  instance->key_name = in.maybe_text("key_name");
  instance->key_data = in.maybe_text("key_data");
  in.each("keypairs", [&](const Node& at) {
    Object pair(at);
    instance->keypairs.push_back(
        {pair.need("name").text(), pair.text("type", "ssh"), pair.need("public_key").text()});
    pair.done();
  });
  if (const auto metadata = in.find("metadata")) {
    metadata->expect(metadata->json().is_object(), "an object");
    for (const auto& [key, value] : metadata->json().items()) {
      instance->metadata.emplace_back(key, Node(value, *metadata, key).text());
    }
  }
  if (const auto metadata = in.find("system_metadata")) {
    metadata->expect(metadata->json().is_object(), "an object");
    for (const auto& [key, value] : metadata->json().items()) {
      // Not text(): a guest's password may hold any character.
      const Node at(value, *metadata, key);
      at.expect(value.is_string(), "a string");
      instance->system_metadata.emplace(key, value.get<std::string>());
    }
  }
  if (const auto user_data = in.find("user_data")) {
    instance->user_data = base64_of(*user_data);
    if (instance->user_data->size() > kLongestUserData) {
      user_data->refuse("longer than " + std::to_string(kLongestUserData) + " characters");
    }
  }
  instance->root_device_name = in.maybe_text("root_device_name");
  instance->default_ephemeral_device = in.maybe_text("default_ephemeral_device");
  instance->default_swap_device = in.maybe_text("default_swap_device");
  in.each("block_device_mappings",
          [&](const Node& at) { instance->block_device_mappings.push_back(read_mapping(at)); });
  if (const auto devices = in.find("device_metadata")) {
    instance->device_metadata.emplace();
    devices->each([&](const Node& at) { instance->device_metadata->push_back(read_device(at)); });
  }
  if (const auto cells = in.find("numa_topology")) {
    instance->numa_topology.emplace();
    cells->each([&](const Node& at) { instance->numa_topology->push_back(read_cell(at)); });
  }
  instance->security_groups = texts_of(in, "security_groups");
  if (const auto network_info = in.find("network_info")) {
    network_info->each(check_vif);
    instance->network_info = network_info->json().dump();
  }
  in.each("personality", [&](const Node& at) {
    Object file(at);
    const auto path = file.need("path");
    if (path.text().empty()) {
      path.refuse("an empty path");
    }
    instance->personality.push_back({path.text(), base64_of(file.need("contents"))});
    file.done();
  });
  static_cast<void>(in.text("admin_pass"));  // for one config drive at a time; never kept
  instance->config_drive = in.boolean("config_drive", false);
  in.done();
  return instance;
}

// --- objects to JSON ----------------------------------------------------------------------------

/// Writes what is there and leaves out what is null or empty.
struct Writer {
  Json out = Json::object();

  void text(const char* key, const std::string& value) {
    if (!value.empty()) {
      out[key] = value;
    }
  }
  template <class T>
  void maybe(const char* key, const std::optional<T>& value) {
    if (value) {
      out[key] = *value;
    }
  }
  void list(const char* key, Json items) {
    if (!items.empty()) {
      out[key] = std::move(items);
    }
  }
  template <class T, class F>
  void list(const char* key, const std::vector<T>& items, F&& to) {
    Json array = Json::array();
    for (const auto& item : items) {
      array.push_back(to(item));
    }
    list(key, std::move(array));
  }
};

Json to_json(const Network& network) {
  Writer to;
  to.out["id"] = network.id;
  to.text("name", network.name);
  to.text("project_id", network.project_id);
  to.maybe("mtu", network.mtu);
  if (!network.admin_state_up) {
    to.out["admin_state_up"] = false;
  }
  return std::move(to.out);
}

Json to_json(const Subnet& subnet) {
  Writer to;
  to.out["id"] = subnet.id;
  to.out["network_id"] = subnet.network_id;
  to.text("name", subnet.name);
  to.out["cidr"] = subnet.cidr;
  to.out["ip_version"] = subnet.ip_version;
  to.maybe("gateway_ip", subnet.gateway_ip);
  to.out["enable_dhcp"] = subnet.enable_dhcp;
  to.list("dns_nameservers", Json(subnet.dns_nameservers));
  to.list("host_routes", subnet.host_routes, [](const HostRoute& route) {
    return Json{{"destination", route.destination}, {"nexthop", route.nexthop}};
  });
  to.maybe("ipv6_address_mode", subnet.ipv6_address_mode);
  return std::move(to.out);
}

Json to_json(const Router& router) {
  Writer to;
  to.out["id"] = router.id;
  to.text("name", router.name);
  to.text("project_id", router.project_id);
  if (!router.admin_state_up) {
    to.out["admin_state_up"] = false;
  }
  return std::move(to.out);
}

Json to_json(const Port& port) {
  Writer to;
  to.out["id"] = port.id;
  to.out["network_id"] = port.network_id;
  to.out["mac_address"] = port.mac_address;
  to.text("device_id", port.device_id);
  to.text("device_owner", port.device_owner);
  to.text("project_id", port.project_id);
  to.list("fixed_ips", port.fixed_ips, [](const FixedIp& ip) {
    return Json{{"subnet_id", ip.subnet_id}, {"ip_address", ip.ip_address}};
  });
  to.list("allowed_address_pairs", port.allowed_address_pairs, [](const AddressPair& pair) {
    Json item{{"ip_address", pair.ip_address}};
    if (pair.mac_address) {
      item["mac_address"] = *pair.mac_address;
    }
    return item;
  });
  if (!port.admin_state_up) {
    to.out["admin_state_up"] = false;
  }
  to.maybe("device", port.device);
  to.maybe("vlan", port.vlan);
  if (port.address_policy == AddressPolicy::learn) {
    to.out["address_policy"] = "learn";
  }
  if (port.mac_policy == MacPolicy::any) {
    to.out["mac_policy"] = "any";
  }
  return std::move(to.out);
}

Json to_json(const BlockDeviceMapping& mapping) {
  Writer to;
  to.maybe("source_type", mapping.source_type);
  to.maybe("destination_type", mapping.destination_type);
  to.maybe("guest_format", mapping.guest_format);
  to.maybe("device_name", mapping.device_name);
  to.maybe("boot_index", mapping.boot_index);
  to.maybe("volume_id", mapping.volume_id);
  to.maybe("volume_size", mapping.volume_size);
  to.maybe("tag", mapping.tag);
  return std::move(to.out);
}

Json to_json(const DeviceMetadata& device) {
  Writer to;
  to.out["kind"] = device.kind;
  if (device.bus_type || device.bus_address) {
    Writer bus;
    bus.maybe("type", device.bus_type);
    bus.maybe("address", device.bus_address);
    to.out["bus"] = std::move(bus.out);
  }
  to.maybe("mac", device.mac);
  to.maybe("vlan", device.vlan);
  to.maybe("vf_trusted", device.vf_trusted);
  const auto nullable = [&](const char* key, bool there, const std::optional<std::string>& value) {
    if (there) {
      to.out[key] = value ? Json(*value) : Json(nullptr);
    }
  };
  nullable("serial", device.has_serial, device.serial);
  nullable("path", device.has_path, device.path);
  to.maybe("share_id", device.share_id);
  to.maybe("tag", device.tag);
  if (device.has_tags) {
    to.out["tags"] = device.tags;
  }
  return std::move(to.out);
}

Json to_json(const NumaCell& cell) {
  Writer to;
  to.maybe("id", cell.id);
  to.list("cpuset", Json(cell.cpuset));
  to.list("pcpuset", Json(cell.pcpuset));
  return std::move(to.out);
}

/// Everything but the network cache.
Json body_of(const Instance& instance) {
  Writer to;
  to.out["uuid"] = instance.uuid;
  to.text("name", instance.name);
  to.text("project_id", instance.project_id);
  to.text("user_id", instance.user_id);
  to.text("display_name", instance.display_name);
  to.text("hostname", instance.hostname);
  to.maybe("launch_index", instance.launch_index);
  to.maybe("availability_zone", instance.availability_zone);
  to.maybe("reservation_id", instance.reservation_id);
  to.maybe("image_ref", instance.image_ref);
  to.maybe("kernel_id", instance.kernel_id);
  to.maybe("ramdisk_id", instance.ramdisk_id);
  Writer ids;
  ids.maybe("instance_id", instance.ec2_ids.instance_id);
  ids.maybe("ami_id", instance.ec2_ids.ami_id);
  ids.maybe("kernel_id", instance.ec2_ids.kernel_id);
  ids.maybe("ramdisk_id", instance.ec2_ids.ramdisk_id);
  to.list("ec2_ids", std::move(ids.out));
  if (instance.flavor_name) {
    to.out["flavor"] = Json{{"name", *instance.flavor_name}};
  }
  to.maybe("key_name", instance.key_name);
  to.maybe("key_data", instance.key_data);
  to.list("keypairs", instance.keypairs, [](const Keypair& pair) {
    return Json{{"name", pair.name}, {"type", pair.type}, {"public_key", pair.public_key}};
  });
  Json metadata = Json::object();
  for (const auto& [key, value] : instance.metadata) {
    metadata[key] = value;
  }
  to.list("metadata", std::move(metadata));
  to.list("system_metadata", Json(instance.system_metadata));
  to.maybe("user_data", instance.user_data);
  to.maybe("root_device_name", instance.root_device_name);
  to.maybe("default_ephemeral_device", instance.default_ephemeral_device);
  to.maybe("default_swap_device", instance.default_swap_device);
  const auto each = [](const auto& item) { return to_json(item); };
  to.list("block_device_mappings", instance.block_device_mappings, each);
  // An empty list of these is not the same as none.
  if (instance.device_metadata) {
    to.out["device_metadata"] = Json::array();
    to.list("device_metadata", *instance.device_metadata, each);
  }
  if (instance.numa_topology) {
    to.out["numa_topology"] = Json::array();
    to.list("numa_topology", *instance.numa_topology, each);
  }
  to.list("security_groups", Json(instance.security_groups));
  to.list("personality", instance.personality, [](const PersonalityFile& file) {
    return Json{{"path", file.path}, {"contents", file.contents}};
  });
  if (instance.config_drive) {
    to.out["config_drive"] = true;
  }
  return std::move(to.out);
}

Json to_json(const Instance& instance) {
  Json out = body_of(instance);
  if (instance.network_info) {
    out["network_info"] = Json::parse(*instance.network_info, nullptr, false);
  }
  return out;
}

template <class T>
std::string text_of(const T& object) {
  return to_json(object).dump();
}

// --- the whole ----------------------------------------------------------------------------------

/// Where an object stands in the document that is being read: asked only when it is at fault.
class Places {
 public:
  void add(std::string_view table, const std::string& id) { ids_[table].push_back(id); }
  [[nodiscard]] std::string pointer(std::string_view table, const std::string& id,
                                    std::string_view member) const {
    std::string place = id;
    if (const auto ids = ids_.find(table); ids != ids_.end()) {
      const auto found = std::ranges::find(ids->second, id);
      if (found != ids->second.end()) {
        place = std::to_string(found - ids->second.begin());
      }
    }
    return "/" + std::string(table) + "/" + place + std::string(member);
  }

 private:
  std::map<std::string_view, std::vector<std::string>> ids_;
};

/// What has to be looked at: everything, or only what a change may have broken.
class Scope {
 public:
  Scope() = default;
  Scope(const Inventory& base, const Inventory& inventory) : base_(&base) {
    for_each_difference(
        base.networks, inventory.networks,
        [&](const std::string& id, const auto*, const auto*) { networks_.insert(id); });
    for_each_difference(base.subnets, inventory.subnets,
                        [&](const std::string&, const Subnet* before, const Subnet* after) {
                          for (const auto* subnet : {before, after}) {
                            if (subnet != nullptr) {
                              networks_.insert(subnet->network_id);
                            }
                          }
                        });
    for_each_difference(base.ports, inventory.ports,
                        [&](const std::string&, const Port*, const Port* after) {
                          if (after != nullptr) {
                            ports_.insert(after);
                          }
                        });
  }
  [[nodiscard]] const Inventory* base() const { return base_; }
  /// Networks that are another than before, or whose subnets are.
  [[nodiscard]] bool has(const std::string& network) const {
    return base_ == nullptr || (!networks_.empty() && networks_.contains(network));
  }
  [[nodiscard]] bool any_network() const { return !networks_.empty(); }
  /// Ports that are new or another than before.
  [[nodiscard]] const std::unordered_set<const Port*>& ports() const { return ports_; }

 private:
  const Inventory* base_ = nullptr;
  std::set<std::string> networks_;
  std::unordered_set<const Port*> ports_;
};

/// Throws Refused where something is referred to that is not there, or claimed twice.
class Checker {
 public:
  Checker(const Inventory& inventory, const Places& places, const Scope& scope)
      : inventory_(inventory), places_(places), scope_(scope) {}

  void run() {
    for (const auto& [id, subnet] : inventory_.subnets) {
      if (scope_.has(subnet->network_id) && !inventory_.networks.contains(subnet->network_id)) {
        refuse("subnets", id, "/network_id",
               "there is no network " + in_quotes(subnet->network_id));
      }
    }
    if (scope_.base() == nullptr) {
      for (const auto& [id, port] : inventory_.ports) {
        check(*port);
        claim_all(*port);
      }
    } else {
      check_change();
    }
    check_ec2_ids();
  }

 private:
  /// Something of one port's, which the other may not have as well.
  struct Claim {
    const Port* port = nullptr;
    std::string member;  ///< of the port in the document
  };
  /// By network, where it is the network's, and value.
  using Claims = std::map<std::pair<std::string_view, std::string_view>, Claim>;

  [[noreturn]] void refuse(std::string_view table, const std::string& id, std::string_view member,
                           const std::string& reason) const {
    throw Refused{places_.pointer(table, id, member), reason};
  }
  [[noreturn]] void refuse_claim(const Port& port, const std::string& member,
                                 const std::string& what, const Port& owner) const {
    refuse("ports", port.id, member, what + " is port " + owner.id + "'s already");
  }

  /// What changed claims first, so that it is at fault; the others, however many, are held against
  /// the few claims there are.
  void check_change() {
    for (const Port* port : scope_.ports()) {
      check(*port);
      claim_all(*port);
    }
    if (scope_.ports().empty() && !scope_.any_network()) {
      return;
    }
    for (const auto& [id, port] : inventory_.ports) {
      if (scope_.has(port->network_id)) {
        check(*port);
      }
      if (!scope_.ports().contains(port.get())) {
        respect(*port);
      }
    }
  }

  /// What the port says of itself and refers to.
  void check(const Port& port) {
    if (!inventory_.networks.contains(port.network_id)) {
      refuse("ports", port.id, "/network_id", "there is no network " + in_quotes(port.network_id));
    }
    for (std::size_t index = 0; index < port.fixed_ips.size(); ++index) {
      const auto& fixed = port.fixed_ips[index];
      const auto member = "/fixed_ips/" + std::to_string(index);
      const auto subnet = inventory_.subnets.find(fixed.subnet_id);
      if (subnet == inventory_.subnets.end()) {
        refuse("ports", port.id, member + "/subnet_id",
               "there is no subnet " + in_quotes(fixed.subnet_id));
      }
      if (subnet->second->network_id != port.network_id) {
        refuse("ports", port.id, member + "/subnet_id",
               "subnet " + fixed.subnet_id + " is of network " + subnet->second->network_id +
                   ", the port of " + port.network_id);
      }
      const auto address = IpAddress::parse(fixed.ip_address);
      const auto prefix = IpPrefix::parse(subnet->second->cidr);
      if (!address || !prefix || !prefix->contains(*address)) {
        refuse("ports", port.id, member + "/ip_address",
               fixed.ip_address + " is not within " + subnet->second->cidr);
      }
    }
  }

  static std::string device_name(const Port& port) {
    return "device " + *port.device + (port.vlan ? ", vlan " + std::to_string(*port.vlan) : "");
  }
  static std::string in_network(const std::string& what, const Port& port) {
    return what + " of network " + port.network_id;
  }

  void claim(Claims& claims, std::string_view network, std::string_view value, const Port& port,
             std::string member, const std::string& what) {
    const auto [owner, fresh] = claims.try_emplace({network, value}, Claim{&port, member});
    if (!fresh) {
      refuse_claim(port, member, what, *owner->second.port);
    }
  }
  void claim_all(const Port& port) {
    claim(macs_, port.network_id, port.mac_address, port, "/mac_address",
          in_network(port.mac_address, port));
    for (std::size_t index = 0; index < port.fixed_ips.size(); ++index) {
      const auto& address = port.fixed_ips[index].ip_address;
      claim(addresses_, port.network_id, address, port,
            "/fixed_ips/" + std::to_string(index) + "/ip_address", in_network(address, port));
    }
    if (port.device) {
      const auto& vlan = vlans_.emplace_back(port.vlan ? std::to_string(*port.vlan) : "");
      claim(devices_, vlan, *port.device, port, "/device", device_name(port));
    }
  }

  /// A port that stays as it is: nothing of its may have been claimed.
  void respect(const Port& port) const {
    const auto claimed = [](const Claims& claims, std::string_view network,
                            std::string_view value) -> const Claim* {
      const auto found = claims.find({network, value});
      return found == claims.end() ? nullptr : &found->second;
    };
    if (const auto* by = claimed(macs_, port.network_id, port.mac_address)) {
      refuse_claim(*by->port, by->member, in_network(port.mac_address, port), port);
    }
    for (const auto& fixed : port.fixed_ips) {
      if (const auto* by = claimed(addresses_, port.network_id, fixed.ip_address)) {
        refuse_claim(*by->port, by->member, in_network(fixed.ip_address, port), port);
      }
    }
    if (port.device && !devices_.empty()) {
      if (const auto* by =
              claimed(devices_, port.vlan ? std::to_string(*port.vlan) : "", *port.device)) {
        refuse_claim(*by->port, by->member, device_name(port), port);
      }
    }
  }

  void check_ec2_ids() const {
    std::unordered_map<std::string_view, std::string_view> owners;
    const auto claim_id = [&](const std::string& uuid, const Instance& instance) {
      if (const auto& id = instance.ec2_ids.instance_id) {
        const auto [owner, fresh] = owners.try_emplace(*id, uuid);
        if (!fresh && owner->second != uuid) {
          refuse("instances", uuid, "/ec2_ids/instance_id",
                 *id + " is instance " + std::string(owner->second) + "'s already");
        }
      }
    };
    if (scope_.base() == nullptr) {
      for (const auto& [uuid, instance] : inventory_.instances) {
        claim_id(uuid, *instance);
      }
      return;
    }
    for_each_difference(scope_.base()->instances, inventory_.instances,
                        [&](const std::string& uuid, const Instance*, const Instance* now) {
                          if (now != nullptr) {
                            claim_id(uuid, *now);
                          }
                        });
    if (owners.empty()) {
      return;
    }
    for (const auto& [uuid, instance] : inventory_.instances) {
      if (const auto& id = instance->ec2_ids.instance_id) {
        const auto owner = owners.find(*id);
        if (owner != owners.end() && owner->second != uuid) {
          refuse("instances", std::string(owner->second), "/ec2_ids/instance_id",
                 *id + " is instance " + uuid + "'s already");
        }
      }
    }
  }

  const Inventory& inventory_;
  const Places& places_;
  const Scope& scope_;
  Claims addresses_, macs_, devices_;
  std::deque<std::string> vlans_;  // as text, for the claims to refer to
};

/// Objects just read, still open to their defaults.
struct Fresh {
  std::vector<std::shared_ptr<Port>> ports;
  std::vector<std::shared_ptr<Instance>> instances;
};

/// What a person who writes a document by hand may leave out.
void fill_defaults(const Inventory& inventory, const Fresh& fresh, const Places& places) {
  std::unordered_map<std::string_view, std::vector<const Port*>> ports_of;
  for (const auto& instance : fresh.instances) {
    if (instance->project_id.empty()) {
      ports_of.try_emplace(instance->uuid);
    }
  }
  if (!ports_of.empty()) {
    for (const auto& [id, port] : inventory.ports) {
      if (const auto owner = ports_of.find(port->device_id); owner != ports_of.end()) {
        owner->second.push_back(port.get());
      }
    }
  }
  for (const auto& instance : fresh.instances) {
    if (instance->display_name.empty()) {
      instance->display_name = instance->name;
    }
    if (instance->hostname.empty()) {
      instance->hostname = hostname_from(instance->display_name, instance->uuid);
    }
    if (!instance->project_id.empty()) {
      continue;
    }
    for (const Port* port : ports_of[instance->uuid]) {
      if (!port->project_id.empty() && !instance->project_id.empty() &&
          port->project_id != instance->project_id) {
        throw Refused{places.pointer("instances", instance->uuid, "/project_id"),
                      "its ports belong to several projects, so it must be said"};
      }
      if (instance->project_id.empty()) {
        instance->project_id = port->project_id;
      }
    }
  }
  // A guest is asked for by its port's project: one that is not given is its instance's, or else
  // its network's.
  for (const auto& port : fresh.ports) {
    if (!port->project_id.empty()) {
      continue;
    }
    if (const auto owner = inventory.instances.find(port->device_id);
        owner != inventory.instances.end() && !owner->second->project_id.empty()) {
      port->project_id = owner->second->project_id;
    } else if (const auto network = inventory.networks.find(port->network_id);
               network != inventory.networks.end()) {
      port->project_id = network->second->project_id;
    }
  }
  for (const auto& instance : fresh.instances) {
    if (instance->project_id.empty()) {
      for (const Port* port : ports_of[instance->uuid]) {
        instance->project_id = port->project_id;
      }
    }
  }
}

enum class Form { whole, part };

Inventory read(const Json& document, const Inventory& base, Form form) {
  Inventory inventory = base;
  const Node root(document);
  Object in(root);
  const auto format = form == Form::whole ? std::optional(in.need("format")) : in.find("format");
  if (format && format->text() != kFormat) {
    format->refuse(in_quotes(format->text()) + " is not " + in_quotes(kFormat));
  }
  Places places;
  Fresh fresh;
  const auto table = [&](std::string_view name, auto& objects, auto read_object, auto id_of,
                         std::string_view id_key) {
    std::map<std::string, std::size_t, std::less<>> seen;
    in.each(name, [&](const Node& node) {
      auto object = read_object(node);
      const std::string& id = id_of(*object);
      places.add(name, id);
      const auto [first, is_first] = seen.try_emplace(id, seen.size());
      if (!is_first) {
        throw Refused{node.pointer() + "/" + std::string(id_key),
                      in_quotes(id) + " is /" + std::string(name) + "/" +
                          std::to_string(first->second) + "'s already"};
      }
      objects.insert_or_assign(id, std::move(object));
    });
  };
  const auto id = [](const auto& object) -> const std::string& { return object.id; };
  table("networks", inventory.networks, read_network, id, "id");
  table("subnets", inventory.subnets, read_subnet, id, "id");
  table("routers", inventory.routers, read_router, id, "id");
  table(
      "ports", inventory.ports,
      [&](const Node& node) { return fresh.ports.emplace_back(read_port(node)); }, id, "id");
  table(
      "instances", inventory.instances,
      [&](const Node& node) { return fresh.instances.emplace_back(read_instance(node)); },
      [](const Instance& instance) -> const std::string& { return instance.uuid; }, "uuid");
  in.done();
  fill_defaults(inventory, fresh, places);
  const auto scope = form == Form::whole ? Scope() : Scope(base, inventory);
  Checker(inventory, places, scope).run();
  return inventory;
}

tl::unexpected<Error> refused(const Refused& error) {
  return fail(ErrorCode::invalid,
              (error.pointer.empty() ? "the document" : error.pointer) + ": " + error.reason);
}

template <class T, class F>
Result<std::shared_ptr<const T>> thaw(std::string_view body, F&& read_object) {
  const auto document = json::parse(body);
  if (!document) {
    return fail(ErrorCode::internal, "stored object: " + document.error().message);
  }
  try {
    return std::shared_ptr<const T>(read_object(Node(*document)));
  } catch (const Refused& error) {
    return fail(ErrorCode::internal, "stored object: " + error.pointer + ": " + error.reason);
  }
}

}  // namespace

Result<Inventory> parse_document(std::string_view text) {
  const auto document = json::parse(text);
  if (!document) {
    return tl::make_unexpected(document.error());
  }
  try {
    return read(*document, Inventory{}, Form::whole);
  } catch (const Refused& error) {
    return refused(error);
  }
}

Result<Inventory> merge_document(const Inventory& base, std::string_view text) {
  auto document = json::parse(text);
  if (!document) {
    return tl::make_unexpected(document.error());
  }
  if (document->is_object() && document->contains("uuid")) {
    Json instances = Json::array({*std::move(document)});
    document = Json{{"instances", std::move(instances)}};
  }
  try {
    return read(*document, base, Form::part);
  } catch (const Refused& error) {
    return refused(error);
  }
}

std::string write_document(const Inventory& inventory) {
  Json document{{"format", kFormat}};
  const auto table = [&](const char* name, const auto& objects) {
    Json& array = document[name] = Json::array();
    for (const auto& [id, object] : objects) {
      array.push_back(to_json(*object));
    }
  };
  table("networks", inventory.networks);
  table("subnets", inventory.subnets);
  table("routers", inventory.routers);
  table("ports", inventory.ports);
  table("instances", inventory.instances);
  return document.dump(1) + "\n";
}

std::string write_object(const Network& network) {
  return text_of(network);
}
std::string write_object(const Subnet& subnet) {
  return text_of(subnet);
}
std::string write_object(const Router& router) {
  return text_of(router);
}
std::string write_object(const Port& port) {
  return text_of(port);
}
std::string write_object(const Instance& instance) {
  return text_of(instance);
}

StoredInstance freeze(const Instance& instance) {
  return {body_of(instance).dump(), instance.network_info};
}

Result<std::shared_ptr<const Instance>> thaw_instance(std::string_view body,
                                                      std::optional<std::string> network_info) {
  return thaw<Instance>(body, [&](const Node& node) {
    auto instance = read_instance(node);
    instance->network_info = std::move(network_info);
    return instance;
  });
}

Result<std::shared_ptr<const Network>> thaw_network(std::string_view body) {
  return thaw<Network>(body, read_network);
}
Result<std::shared_ptr<const Subnet>> thaw_subnet(std::string_view body) {
  return thaw<Subnet>(body, read_subnet);
}
Result<std::shared_ptr<const Router>> thaw_router(std::string_view body) {
  return thaw<Router>(body, read_router);
}
Result<std::shared_ptr<const Port>> thaw_port(std::string_view body) {
  return thaw<Port>(body, read_port);
}

}  // namespace metatap
