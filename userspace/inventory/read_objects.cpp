// SPDX-License-Identifier: Apache-2.0
#include "inventory/read_objects.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/text.hpp"
#include "inventory/access_policy.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

using json::in_quotes;
using json::Node;
using json::Object;

std::string address_of(const Node& node) {
  const auto address = Address::parse(node.text());
  if (!address) {
    node.refuse(in_quotes(node.text()) + " is not an IP address");
  }
  return address->text();
}

int ip_version_of(const Address& address) {
  return address.v4() ? 4 : 6;
}

std::string mac_of(const Node& node) {
  const auto mac = parse_mac(node.text());
  if (!mac) {
    node.refuse(in_quotes(node.text()) + " is not a MAC address");
  }
  return to_string(*mac);
}

Prefix prefix_of(const Node& node) {
  const auto prefix = Prefix::parse(node.text());
  if (!prefix) {
    node.refuse(in_quotes(node.text()) + " is not a network in CIDR form");
  }
  return *prefix;
}

/// Base64 with blanks taken out; its contents are left alone.
std::string base64_of(const Node& node) {
  std::string text = node.text();
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' ' || c == '\t'; });
  if (!is_base64(text)) {
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

/// As member(), of what Nova always has there.
void needed(const Node& node, const char* key, const std::function<void(const Node&)>& check) {
  bool there = false;
  member(node, key, [&](const Node& at) {
    there = true;
    check(at);
  });
  if (!there) {
    node.refuse("\"" + std::string(key) + "\" is required");
  }
}

void check_text(const Node& node) {
  static_cast<void>(node.text());
}
void check_object(const Node& node) {
  node.expect(node.json().is_object(), "an object");
}

void check_address(const Node& node) {
  address_of(node);
}
void check_addressed(const Node& node) {
  needed(node, "address", check_address);
}

std::string ipv6_address_mode_of(const Node& node) {
  return one_of(node, {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"});
}

void check_cached_subnet(const Node& subnet) {
  needed(subnet, "cidr", [&](const Node& cidr) {
    const int family = ip_version_of(prefix_of(cidr).address);
    member(subnet, "version", [&](const Node& version) {
      if (version.integer(4, 6) != family) {
        version.refuse("the cidr is of IPv" + std::to_string(family));
      }
    });
  });
  member(subnet, "meta", [](const Node& meta) {
    member(meta, "dhcp_server", check_text);
    member(meta, "ipv6_address_mode", [](const Node& at) { ipv6_address_mode_of(at); });
  });
  // A subnet without a gateway has one without an address.
  member(subnet, "gateway", [](const Node& gateway) { member(gateway, "address", check_address); });
  member(subnet, "dns", [](const Node& list) { list.each(check_addressed); });
  member(subnet, "ips", [](const Node& list) {
    list.each([](const Node& ip) {
      check_addressed(ip);
      member(ip, "floating_ips", [](const Node& floating) { floating.each(check_addressed); });
    });
  });
  member(subnet, "routes", [](const Node& list) {
    list.each([](const Node& route) {
      needed(route, "cidr", [](const Node& at) { prefix_of(at); });
      needed(route, "gateway", check_addressed);
    });
  });
}

void check_vif(const Node& vif) {
  needed(vif, "id", [](const Node& id) {
    if (id.text().empty()) {
      id.refuse("an empty id");
    }
  });
  for (const auto* key : {"type", "devname", "vnic_type"}) {
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
    member(network, "meta", [](const Node& meta) {
      member(meta, "mtu", [](const Node& at) { static_cast<void>(at.integer(0, INT32_MAX)); });
    });
    member(network, "subnets", [](const Node& subnets) { subnets.each(check_cached_subnet); });
  });
}

Ec2Ids read_ec2_ids(const Node& node) {
  Object in(node);
  Ec2Ids ids;
  const auto take = [&](std::string_view key, std::string_view prefix,
                        std::optional<std::string>& into) {
    if (const auto at = in.find(key)) {
      into = ec2_id_of(*at, prefix);
    }
  };
  take("instance_id", "i-", ids.instance_id);
  take("ami_id", "ami-", ids.ami_id);
  take("kernel_id", "aki-", ids.kernel_id);
  take("ramdisk_id", "ari-", ids.ramdisk_id);
  in.done();
  return ids;
}

Keypair read_keypair(const Node& node) {
  Object in(node);
  Keypair pair{in.need("name").text(), in.text("type", "ssh"), in.need("public_key").text()};
  in.done();
  return pair;
}

PersonalityFile read_file(const Node& node) {
  Object in(node);
  const auto path = in.need("path");
  if (path.text().empty()) {
    path.refuse("an empty path");
  }
  PersonalityFile file{path.text(), base64_of(in.need("contents"))};
  in.done();
  return file;
}

std::string read_user_data(const Node& node) {
  constexpr std::size_t kLongest = 65535;  // Nova's column
  auto text = base64_of(node);
  if (text.size() > kLongest) {
    node.refuse("longer than " + std::to_string(kLongest) + " characters");
  }
  return text;
}

/// The two tables of names and values an instance has.
void read_metadata(Object& in, Instance& instance) {
  if (const auto metadata = in.find("metadata")) {
    metadata->expect(metadata->json().is_object(), "an object");
    for (const auto& [key, value] : metadata->json().items()) {
      instance.metadata.emplace_back(key, Node(value, *metadata, key).text());
    }
  }
  if (const auto metadata = in.find("system_metadata")) {
    metadata->expect(metadata->json().is_object(), "an object");
    for (const auto& [key, value] : metadata->json().items()) {
      // Not text(): a guest's password may hold any character.
      const Node at(value, *metadata, key);
      at.expect(value.is_string(), "a string");
      instance.system_metadata.emplace(key, value.get<std::string>());
    }
  }
}

/// What the instance's disks, NICs and processors look like from inside.
void read_hardware(Object& in, Instance& instance) {
  instance.root_device_name = in.maybe_text("root_device_name");
  instance.default_ephemeral_device = in.maybe_text("default_ephemeral_device");
  instance.default_swap_device = in.maybe_text("default_swap_device");
  in.each("block_device_mappings",
          [&](const Node& at) { instance.block_device_mappings.push_back(read_mapping(at)); });
  if (const auto devices = in.find("device_metadata")) {
    instance.device_metadata.emplace();
    devices->each([&](const Node& at) { instance.device_metadata->push_back(read_device(at)); });
  }
  if (const auto cells = in.find("numa_topology")) {
    instance.numa_topology.emplace();
    cells->each([&](const Node& at) { instance.numa_topology->push_back(read_cell(at)); });
  }
}

}  // namespace

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
  network->access = read_access_of(in);
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
    cidr_at.refuse(in_quotes(cidr_at.text()) + " has host bits set; " + cidr.masked().text() +
                   " may be meant");
  }
  subnet->cidr = cidr.text();
  const auto version_at = in.need("ip_version");
  subnet->ip_version = static_cast<int>(version_at.integer(4, 6));
  if (subnet->ip_version != ip_version_of(cidr.address)) {
    version_at.refuse("the cidr is of IPv" + std::to_string(ip_version_of(cidr.address)));
  }
  const auto same_family = [&](const Node& at) {
    auto address = address_of(at);
    if (ip_version_of(*Address::parse(address)) != subnet->ip_version) {
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
    if (ip_version_of(destination.address) != subnet->ip_version) {
      destination_at.refuse("not of the subnet's IP version");
    }
    subnet->host_routes.push_back({destination.text(), same_family(route.need("nexthop"))});
    route.done();
  });
  if (const auto mode = in.find("ipv6_address_mode")) {
    subnet->ipv6_address_mode = ipv6_address_mode_of(*mode);
    if (subnet->ip_version != 6) {
      mode->refuse("only an IPv6 subnet has one");
    }
  }
  subnet->advanced_service_providers = texts_of(in, "advanced_service_providers");
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
                          : prefix_of(address_at).text();
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
  port->access = read_access_of(in);
  in.done();
  return port;
}

std::shared_ptr<Instance> read_instance(const Node& node) {
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
  if (const auto ids = in.find("ec2_ids")) {
    instance->ec2_ids = read_ec2_ids(*ids);
  }
  if (const auto flavor_at = in.find("flavor")) {
    Object flavor(*flavor_at);
    instance->flavor_name = flavor.maybe_text("name");
    flavor.done();
  }
  instance->key_name = in.maybe_text("key_name");
  instance->key_data = in.maybe_text("key_data");
  in.each("keypairs", [&](const Node& at) { instance->keypairs.push_back(read_keypair(at)); });
  read_metadata(in, *instance);
  if (const auto user_data = in.find("user_data")) {
    instance->user_data = read_user_data(*user_data);
  }
  read_hardware(in, *instance);
  instance->security_groups = texts_of(in, "security_groups");
  if (const auto network_info = in.find("network_info")) {
    network_info->each(check_vif);
    instance->network_info = network_info->json().dump();
  }
  in.each("personality", [&](const Node& at) { instance->personality.push_back(read_file(at)); });
  static_cast<void>(in.text("admin_pass"));  // for one config drive at a time; never kept
  instance->config_drive = in.boolean("config_drive", false);
  instance->access = read_access_of(in);
  in.done();
  return instance;
}

}  // namespace metatap
