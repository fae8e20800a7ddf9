// SPDX-License-Identifier: Apache-2.0
#include "inventory/write_document.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "inventory/document.hpp"
#include "inventory/json_reader.hpp"
#include "inventory/metatap_key.hpp"

namespace metatap {
namespace {

using json::Json;

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
  /// How metatap itself treats the object.
  void metatap(const AccessPolicy& access, const PortTreatment& treatment = {}) {
    list("metatap", metatap_value(access, treatment));
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
  to.metatap(network.access);
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
  to.list("advanced_service_providers", Json(subnet.advanced_service_providers));
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
  to.text("mac_address", port.mac_address);
  to.text("device_id", port.device_id);
  to.text("device_owner", port.device_owner);
  to.text("project_id", port.project_id);
  to.list("fixed_ips", port.fixed_ips, [](const FixedIp& ip) {
    Writer item;
    item.text("subnet_id", ip.subnet_id);
    item.text("ip_address", ip.ip_address);
    return std::move(item.out);
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
  to.text("binding:host_id", port.host);
  if (!port.next_host.empty()) {
    to.out["binding:profile"] = Json{{"migrating_to", port.next_host}};
  }
  if (port.address_policy == AddressPolicy::learn) {
    to.out["address_policy"] = "learn";
  }
  if (port.mac_policy == MacPolicy::any) {
    to.out["mac_policy"] = "any";
  }
  to.metatap(port.access, port.treatment);
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
  if (instance.vendor_data) {
    to.out["vendor_data"] = Json{{"text", *instance.vendor_data}};
  }
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
  to.metatap(instance.access);
  return std::move(to.out);
}

Json to_json(const Instance& instance) {
  Json out = body_of(instance);
  if (instance.network_info) {
    out["network_info"] = Json::parse(*instance.network_info, nullptr, false);
  }
  return out;
}

}  // namespace

std::string write_document(const Inventory& inventory) {
  Json document{{"format", kDocumentFormat}};
  const auto table = [&](const char* name, const auto& objects) {
    Json& array = document[name] = Json::array();
    for (const auto& [id, object] : objects) {
      array.push_back(to_json(*object));
    }
  };
  table("networks", inventory.networks);
  table("subnets", inventory.subnets);
  table("routers", inventory.routers);
  // Their order says in which they were attached.
  std::vector<const Port*> ports;
  for (const auto& [id, port] : inventory.ports) {
    ports.push_back(port.get());
  }
  std::ranges::stable_sort(ports, {}, &Port::attached);
  Json& array = document["ports"] = Json::array();
  for (const Port* port : ports) {
    array.push_back(to_json(*port));
  }
  table("instances", inventory.instances);
  return document.dump(1) + "\n";
}

std::string write_object(const Network& network) {
  return to_json(network).dump();
}
std::string write_object(const Subnet& subnet) {
  return to_json(subnet).dump();
}
std::string write_object(const Router& router) {
  return to_json(router).dump();
}
std::string write_object(const Port& port) {
  return to_json(port).dump();
}
std::string write_object(const Instance& instance) {
  return to_json(instance).dump();
}

std::string write_without_network_info(const Instance& instance) {
  return body_of(instance).dump();
}

}  // namespace metatap
