// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>

#include "inventory/read_objects.hpp"

namespace metatap {
namespace {

using namespace json;  // NOLINT: the words of the tables

/// An instance's key of that name, said under another one.
Field<Instance> as(std::string_view name, std::string_view instance_key) {
  const auto& all = instance_keys().fields;
  auto field = *std::ranges::find(all, instance_key,
                                  [](const Field<Instance>& each) { return each.key.name; });
  field.key.name = name;
  return field;
}
Field<Instance> same(std::string_view name) {
  return as(name, name);
}

/// {"id": …, …} or, where there is none, "".
std::string id_in(const Node& at) {
  if (at.json().is_string()) {
    return at.text();
  }
  at.expect(at.json().is_object(), "an object");
  const auto id = at.json().find("id");
  return id == at.json().end() ? "" : Node(*id, at, std::string_view("id")).text();
}

Field<Instance> flavor() {
  return special<Instance>(
      "flavor", {Shape::Kind::carried}, "`original_name`, or the id where it has none",
      [](const Node& at, Instance& into) {
        at.expect(at.json().is_object(), "an object");
        const bool named = says(at, "original_name");
        into.flavor_name =
            named ? Node(at.json()["original_name"], at, std::string_view("original_name")).text()
                  : id_in(at);
      });
}

Field<Instance> security_groups() {
  return special<Instance>(
      "security_groups", {Shape::Kind::carried, true}, "Their names",
      [](const Node& at, Instance& into) {
        at.each([&](const Node& group) {
          group.expect(group.json().is_object() && says(group, "name"), "an object with a name");
          into.security_groups.push_back(
              Node(group.json()["name"], group, std::string_view("name")).text());
        });
      });
}

std::vector<Field<Instance>> server_fields() {
  auto id = as("id", "uuid");
  id.key.required = true;
  auto name = special<Instance>("name", {Shape::Kind::text}, "What Nova keeps as display_name",
                                [](const Node& at, Instance& into) {
                                  into.display_name = at.text();
                                  if (into.name.empty()) {
                                    into.name = at.text();
                                  }
                                });
  auto image = special<Instance>("image", {Shape::Kind::carried}, "Its id",
                                 [](const Node& at, Instance& into) {
                                   if (auto image_id = id_in(at); !image_id.empty()) {
                                     into.image_ref = std::move(image_id);
                                   }
                                 });
  auto config_drive = special<Instance>(
      "config_drive", {Shape::Kind::carried}, "\"True\" or \"\"",
      [](const Node& at, Instance& into) {
        into.config_drive = at.json().is_boolean() ? at.boolean() : at.text() == "True";
      });
  return {id,
          name,
          as("tenant_id", "project_id"),
          same("user_id"),
          same("metadata"),
          same("key_name"),
          same("key_data"),
          same("keypairs"),
          std::move(image),
          flavor(),
          security_groups(),
          std::move(config_drive),
          as("OS-EXT-AZ:availability_zone", "availability_zone"),
          as("OS-EXT-SRV-ATTR:hostname", "hostname"),
          as("OS-EXT-SRV-ATTR:instance_name", "name"),
          as("OS-EXT-SRV-ATTR:kernel_id", "kernel_id"),
          as("OS-EXT-SRV-ATTR:ramdisk_id", "ramdisk_id"),
          as("OS-EXT-SRV-ATTR:launch_index", "launch_index"),
          as("OS-EXT-SRV-ATTR:reservation_id", "reservation_id"),
          as("OS-EXT-SRV-ATTR:root_device_name", "root_device_name"),
          as("OS-EXT-SRV-ATTR:user_data", "user_data"),
          same("vendor_data"),
          same("ec2_ids")};
}

/// Nova's answer names the key and does not have its bytes; and says "" where there is none.
void settle_server(const Node& /*node*/, Instance& server) {
  const auto clear = [](std::optional<std::string>& text) {
    if (text && text->empty()) {
      text.reset();
    }
  };
  clear(server.kernel_id);
  clear(server.ramdisk_id);
  clear(server.availability_zone);
  if (!server.key_data && server.keypairs.empty()) {
    server.key_name.reset();
  }
}

}  // namespace

const Keys<Instance>& server_keys() {
  static const Keys<Instance> keys{server_fields(),
                                   {"links",
                                    "status",
                                    "created",
                                    "updated",
                                    "hostId",
                                    "addresses",
                                    "accessIPv4",
                                    "accessIPv6",
                                    "progress",
                                    "fault",
                                    "locked",
                                    "locked_reason",
                                    "tags",
                                    "description",
                                    "host_status",
                                    "server_groups",
                                    "trusted_image_certificates",
                                    "scheduler_hints",
                                    "pinned_availability_zone",
                                    "OS-DCF:diskConfig",
                                    "OS-EXT-STS:power_state",
                                    "OS-EXT-STS:task_state",
                                    "OS-EXT-STS:vm_state",
                                    "OS-EXT-SRV-ATTR:host",
                                    "OS-EXT-SRV-ATTR:hypervisor_hostname",
                                    "OS-SRV-USG:launched_at",
                                    "OS-SRV-USG:terminated_at",
                                    "os-extended-volumes:volumes_attached"},
                                   settle_server};
  return keys;
}

}  // namespace metatap
