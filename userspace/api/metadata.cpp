// SPDX-License-Identifier: Apache-2.0
#include "api/metadata.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/network_model.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace metatap::api {
namespace {

NetworkModel network_model_of(const Instance& instance, const InventoryIndex& index) {
  if (instance.network_info) {
    if (auto model = network_model_from_json(*instance.network_info)) {
      complete_from_ports(*model, index, instance.uuid);
      return std::move(*model);
    } else {
      log::warn("instance {}: {}; its ports are used instead", instance.uuid,
                model.error().message);
    }
  }
  return network_model_from_ports(index, instance.uuid);
}

/// block-device-mapping in its insertion order (nova/block_device.py, instance_block_mapping).
Json block_device_mapping(const Instance& instance) {
  Json map = Json::object();
  if (!instance.root_device_name) {
    map.set("ami", Json::string("sda1"));
    map.set("ephemeral0", Json::string("sda2"));
    map.set("root", Json::string("/dev/sda1"));
    map.set("swap", Json::string("sda3"));
    return map;
  }
  const std::string& root = *instance.root_device_name;
  map.set("ami", Json::string(root.starts_with("/dev/") ? root.substr(5) : root));
  map.set("root", Json::string(root));
  if (const auto& device = instance.default_ephemeral_device; device && !device->empty()) {
    map.set("ephemeral0", Json::string(*device));
  }
  if (const auto& device = instance.default_swap_device; device && !device->empty()) {
    map.set("swap", Json::string(*device));
  }
  std::vector<const BlockDeviceMapping*> volumes;
  for (const auto& bdm : instance.block_device_mappings) {
    if (bdm.destination_type == "volume") {
      volumes.push_back(&bdm);
    }
  }
  // By name, then in their own order: they are elements of one vector. (std::stable_sort would do,
  // but libstdc++ 12's uses what clang calls deprecated.)
  std::ranges::sort(volumes, {}, [](const auto* bdm) { return std::pair(bdm->device_name, bdm); });
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    map.set(fmt::format("ebs{}", i), Json::string_or_null(volumes[i]->device_name));
  }
  std::size_t ephemerals = 0;
  Json blanks = Json::object();
  for (const auto& bdm : instance.block_device_mappings) {
    if (bdm.source_type != "blank" || bdm.destination_type == "volume") {
      continue;
    }
    const Json device = Json::string_or_null(bdm.device_name);
    if (bdm.guest_format == "swap") {
      map.set("swap", device);  // the last one wins
    } else {
      blanks.set(fmt::format("ephemeral{}", ephemerals++), device);
    }
  }
  for (const auto& [key, device] : blanks.members()) {
    map.set(key, device);
  }
  return map;
}

Json ec2_tree(const Instance& instance, const NetworkModel& model, const std::string& hostname) {
  Json tree = Json::object();
  const auto add_optional = [&](std::string_view key, const auto& given, const auto& id) {
    if (given && !given->empty()) {
      tree.set(key, Json::string_or_null(id));
    }
  };
  tree.set("ami-id", instance.image_ref && !instance.image_ref->empty()
                         ? Json::string_or_null(instance.ec2_ids.ami_id)
                         : Json());
  tree.set("ami-launch-index",
           instance.launch_index ? Json::integer(*instance.launch_index) : Json());
  tree.set("ami-manifest-path", Json::string("FIXME"));
  tree.set("instance-id", Json::string_or_null(instance.ec2_ids.instance_id));
  tree.set("hostname", Json::string(hostname));
  tree.set("local-ipv4", Json::string_or_null(first_ipv4(model)));
  tree.set("reservation-id", Json::string_or_null(instance.reservation_id));
  Json groups = Json::array();
  for (const std::string& group : instance.security_groups) {
    groups.add(Json::string(group));
  }
  tree.set("security-groups", std::move(groups));
  if (instance.key_name && !instance.key_name->empty()) {
    Json key = Json::object();
    key.set("_name", Json::string("0=" + *instance.key_name));
    key.set("openssh-key", Json::string_or_null(instance.key_data));
    Json keys = Json::object();
    keys.set("0", std::move(key));
    tree.set("public-keys", std::move(keys));
  }
  tree.set("local-hostname", Json::string(hostname));
  tree.set("public-hostname", Json::string(hostname));
  tree.set("public-ipv4", Json::string(first_floating_ip(model)));
  tree.set("instance-type", Json::string_or_null(instance.flavor_name));
  tree.set("block-device-mapping", block_device_mapping(instance));
  add_optional("kernel-id", instance.kernel_id, instance.ec2_ids.kernel_id);
  add_optional("ramdisk-id", instance.ramdisk_id, instance.ec2_ids.ramdisk_id);
  Json placement = Json::object();
  placement.set("availability-zone", Json::string_or_null(instance.availability_zone));
  tree.set("placement", std::move(placement));
  tree.set("instance-action", Json::string("none"));
  return tree;
}

/// The `devices` list of one version.
std::string devices_json(const std::vector<DeviceMetadata>& devices, std::size_t version) {
  static constexpr std::array<std::string_view, 6> kBuses{"pci", "usb", "scsi",
                                                          "ide", "xen", "none"};
  Json list = Json::array();
  for (const DeviceMetadata& device : devices) {
    const std::string bus = device.bus_type.value_or("none");
    if (std::ranges::find(kBuses, bus) == kBuses.end()) {
      continue;
    }
    Json item = Json::object();
    bool with_tags = device.has_tags || !device.tags.empty();
    if (device.kind == "nic") {
      bool worth_it = with_tags;
      if (device.vlan && version >= since::kVlan) {
        item.set("vlan", Json::integer(*device.vlan));
        worth_it = true;
      }
      if (version >= since::kVfTrusted) {
        item.set("vf_trusted", Json::boolean(device.vf_trusted.value_or(false)));
        worth_it = true;
      }
      if (!worth_it) {
        continue;
      }
      item.set("type", Json::string("nic"));
      item.set("mac", Json::string_or_null(device.mac));
    } else if (device.kind == "disk") {
      item.set("type", Json::string("disk"));
      if (device.has_serial || device.serial) {
        item.set("serial", Json::string_or_null(device.serial));
      }
      if (device.has_path || device.path) {
        item.set("path", Json::string_or_null(device.path));
      }
    } else if (device.kind == "share" && version >= since::kShares) {
      item.set("type", Json::string("share"));
      item.set("share_id", Json::string_or_null(device.share_id));
      item.set("tag", Json::string_or_null(device.tag));
    } else {
      continue;
    }
    item.set("bus", Json::string(bus));
    item.set("address", Json::string(device.bus_address.value_or("none")));
    if (with_tags) {
      Json tags = Json::array();
      for (const std::string& tag : device.tags) {
        tags.add(Json::string(tag));
      }
      item.set("tags", std::move(tags));
    }
    list.add(std::move(item));
  }
  return list.dump();
}

std::string dedicated_cpus_json(const Instance& instance) {
  std::set<int> cpus;
  if (instance.numa_topology) {
    for (const NumaCell& cell : *instance.numa_topology) {
      cpus.insert(cell.pcpuset.begin(), cell.pcpuset.end());
    }
  }
  return fmt::format("[{}]", fmt::join(cpus, ", "));
}

/// Members of meta_data.json one after the other.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  Writer& raw(std::string_view key, std::string_view json) {
    out_ += out_ == "{" ? "" : ", ";
    append_quoted(out_, key);
    out_.append(": ").append(json);
    return *this;
  }
  Writer& text(std::string_view key, std::string_view value) {
    raw(key, "");
    append_quoted(out_, value);
    return *this;
  }
  Writer& text_or_null(std::string_view key, const std::optional<std::string>& value) {
    return value ? text(key, std::string_view(*value)) : raw(key, "null");
  }

 private:
  std::string& out_;
};

std::string meta_data_head(const Instance& instance, const std::string& hostname, bool injected,
                           const std::optional<DriveExtras>& drive) {
  std::string out = "{";
  Writer writer(out);
  writer.text("uuid", instance.uuid);
  if (!instance.metadata.empty()) {
    Json meta = Json::object();
    for (const auto& [key, value] : instance.metadata) {
      meta.set(key, Json::string(value));
    }
    writer.raw("meta", meta.dump());
  }
  if (drive && drive->personality && !instance.personality.empty()) {
    Json files = Json::array();
    for (std::size_t i = 0; i < instance.personality.size(); ++i) {
      Json file = Json::object();
      file.set("path", Json::string(instance.personality[i].path));
      file.set("content_path", Json::string(fmt::format("/content/{:04}", i + (injected ? 1 : 0))));
      files.add(std::move(file));
    }
    writer.raw("files", files.dump());
  }
  if (drive && drive->admin_pass) {
    writer.text("admin_pass", *drive->admin_pass);
  }
  if (injected) {
    writer.raw("network_config", R"({"name": "network_config", "content_path": "/content/0000"})");
  }
  if (instance.key_name && !instance.key_name->empty() && !instance.keypairs.empty()) {
    // Nova has one.
    Json by_name = Json::object(), keys = Json::array();
    for (const Keypair& pair : instance.keypairs) {
      by_name.set(pair.name, Json::string(pair.public_key));
      Json key = Json::object();
      key.set("name", Json::string(pair.name));
      key.set("type", Json::string(pair.type));
      key.set("data", Json::string(pair.public_key));
      keys.add(std::move(key));
    }
    writer.raw("public_keys", by_name.dump());
    writer.raw("keys", keys.dump());
  }
  writer.text("hostname", hostname).text("name", instance.display_name);
  writer.raw("launch_index",
             instance.launch_index ? std::to_string(*instance.launch_index) : "null");
  writer.text_or_null("availability_zone", instance.availability_zone);
  return out;
}

/// What follows the head in 2012-08-10, and the seed in later versions.
std::string meta_data_tail(const Instance& instance, std::size_t version) {
  if (version < since::kRandomSeed) {
    return "}";
  }
  std::string out = "\"";
  Writer writer(out);
  if (version >= since::kProjectId) {
    writer.text("project_id", instance.project_id);
  }
  if (version >= since::kDevices) {
    writer.raw("devices",
               instance.device_metadata ? devices_json(*instance.device_metadata, version) : "[]");
  }
  if (version >= since::kDedicatedCpus) {
    writer.raw("dedicated_cpus", dedicated_cpus_json(instance));
  }
  return out += "}";
}

std::string stored_password(const Instance& instance) {
  std::string password;
  for (const auto* key : {"password_0", "password_1", "password_2", "password_3"}) {
    if (const auto found = instance.system_metadata.find(key);
        found != instance.system_metadata.end()) {
      password += found->second;
    }
  }
  return password;
}

}  // namespace

std::string full_hostname(const Instance& instance, const ApiOptions& options) {
  return options.dhcp_domain.empty() ? instance.hostname
                                     : instance.hostname + "." + options.dhcp_domain;
}

Metadata describe(const Instance& instance, const InventoryIndex& index, const ApiOptions& options,
                  const std::optional<DriveExtras>& drive) {
  const NetworkModel model = network_model_of(instance, index);
  const std::string hostname = full_hostname(instance, options);
  Metadata metadata;
  metadata.uuid = instance.uuid;
  metadata.project_id = instance.project_id;
  metadata.ec2 = ec2_tree(instance, model, hostname);
  metadata.local_ipv4_from_caller = metadata.ec2.find("local-ipv4")->is_null();
  if (instance.user_data) {
    metadata.user_data = base64_decoded(*instance.user_data);
    if (!metadata.user_data) {
      log::warn("instance {}: user_data is not base64, left out", instance.uuid);
    }
  }
  if (!model.empty() || instance.network_info || index.ports_of_instance(instance.uuid).empty()) {
    metadata.network_data = network_data_json(model);
  }
  metadata.password = stored_password(instance);
  if (auto interfaces = injected_interfaces(model)) {
    metadata.content.push_back(std::move(*interfaces));
  }
  metadata.head = meta_data_head(instance, hostname, !metadata.content.empty(), drive);
  if (drive && drive->personality) {
    for (const PersonalityFile& file : instance.personality) {
      metadata.content.push_back(base64_decoded(file.contents).value_or(""));
    }
  }
  for (std::size_t version = 0; version < kOpenstackVersions.size(); ++version) {
    metadata.tail[version] = meta_data_tail(instance, version);
  }
  return metadata;
}

std::string Metadata::meta_data_json(std::size_t version, std::string_view seed) const {
  std::string out = head;
  if (version >= since::kRandomSeed) {
    out.append(kBeforeSeed).append(seed);
  }
  return out.append(tail[version]);
}

Json Metadata::ec2_meta_data(std::size_t version) const {
  Json tree = Json::object();
  for (const auto& [key, value] : ec2.members()) {
    if (ec2_since(key) <= version) {
      tree.set(key, value);
    }
  }
  return tree;
}

}  // namespace metatap::api
