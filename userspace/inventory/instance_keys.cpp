// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <string_view>

#include "inventory/content.hpp"
#include "inventory/metatap_key.hpp"
#include "inventory/network_info.hpp"
#include "inventory/read_objects.hpp"

namespace metatap {
namespace {

using namespace json;  // NOLINT: the words of the tables

const Keys<Ec2Ids>& ec2_keys() {
  const auto key = [](std::string_view name, std::string_view prefix,
                      std::optional<std::string> Ec2Ids::* member) {
    return special<Ec2Ids>(
        name, {Shape::Kind::ec2_id}, "",
        [prefix, member](const Node& at, Ec2Ids& into) { into.*member = ec2_id_of(at, prefix); });
  };
  static const Keys<Ec2Ids> keys{
      {key("instance_id", "i-", &Ec2Ids::instance_id), key("ami_id", "ami-", &Ec2Ids::ami_id),
       key("kernel_id", "aki-", &Ec2Ids::kernel_id),
       key("ramdisk_id", "ari-", &Ec2Ids::ramdisk_id)},
      {},
      nullptr};
  return keys;
}

const Keys<Keypair>& keypair_keys() {
  static const Keys<Keypair> keys{
      {text<&Keypair::name>("name", "Its name", Need::required),
       text<&Keypair::type>("type", "`ssh` (default) or `x509`"),
       text<&Keypair::public_key>("public_key", "Its bytes", Need::required)},
      {},
      [](const Node& node, Keypair& pair) {
        if (!says(node, "type")) {
          pair.type = "ssh";
        }
      }};
  return keys;
}

const Keys<PersonalityFile>& file_keys() {
  static const Keys<PersonalityFile> keys{
      {field<&PersonalityFile::path>("path", {Shape::Kind::text}, "Where it goes", Need::required,
                                     [](const Node& at) {
                                       if (at.text().empty()) {
                                         at.refuse("an empty path");
                                       }
                                       return at.text();
                                     }),
       field<&PersonalityFile::contents>("contents", {Shape::Kind::base64}, "Its bytes",
                                         Need::required, base64_of)},
      {},
      nullptr};
  return keys;
}

const Keys<BlockDeviceMapping>& mapping_keys() {
  using M = BlockDeviceMapping;
  static const Keys<M> keys{
      {text<&M::source_type>("source_type", "image, volume, snapshot, blank"),
       text<&M::destination_type>("destination_type", "local, volume"),
       text<&M::guest_format>("guest_format", "swap, ephemeral's, or none"),
       text<&M::device_name>("device_name", "As the guest is told"),
       integer<&M::boot_index>("boot_index", INT32_MIN, INT32_MAX, ""),
       text<&M::volume_id>("volume_id", ""),
       integer<&M::volume_size>("volume_size", 0, INT32_MAX, "GiB"), text<&M::tag>("tag", "")},
      {},
      nullptr};
  return keys;
}

struct Bus {
  std::optional<std::string> type, address;
};
const Keys<Bus>& bus_keys() {
  static const Keys<Bus> keys{{text<&Bus::type>("type", "pci, usb, scsi, ide, xen"),
                               text<&Bus::address>("address", "Its place there")},
                              {},
                              nullptr};
  return keys;
}

const Keys<DeviceMetadata>& device_keys() {
  constexpr int kLastVlan = 4095;
  using D = DeviceMetadata;
  // Null and absent are two things to the guest.
  const auto nullable = [](std::string_view name, std::optional<std::string> D::* member,
                           bool D::* there) {
    auto made = special<D>(name, {Shape::Kind::text}, "null is told, too",
                           [member, there](const Node& at, D& into) {
                             into.*there = true;
                             if (!at.json().is_null()) {
                               into.*member = at.text();
                             }
                           });
    made.key.null_counts = true;
    return made;
  };
  static const Shape bus_shape{Shape::Kind::object, false, 0, 0, {}, bus_keys().list()};
  auto tags = special<D>("tags", {Shape::Kind::text, true}, "", [](const Node& at, D& into) {
    into.has_tags = true;
    if (!at.json().is_null()) {
      at.each([&](const Node& tag) { into.tags.push_back(tag.text()); });
    }
  });
  tags.key.null_counts = true;
  static const Keys<D> keys{
      {choice<&D::kind>("kind", {"nic", "disk", "share"}, "What it is", Need::required),
       special<D>("bus", bus_shape, "Where it is",
                  [](const Node& at, D& into) {
                    Bus bus;
                    read_object(at, bus_keys(), bus);
                    into.bus_type = bus.type;
                    into.bus_address = bus.address;
                  }),
       mac<&D::mac>("mac", "Of a nic"), integer<&D::vlan>("vlan", 0, kLastVlan, "Of a nic"),
       boolean<&D::vf_trusted>("vf_trusted", "Of a nic"),
       nullable("serial", &D::serial, &D::has_serial), nullable("path", &D::path, &D::has_path),
       text<&D::share_id>("share_id", "Of a share"), text<&D::tag>("tag", "Of a share"),
       std::move(tags)},
      {},
      nullptr};
  return keys;
}

Field<NumaCell> cpus(std::string_view name, std::vector<int> NumaCell::* member) {
  Shape shape{Shape::Kind::integer, true, 0, INT32_MAX};
  return special<NumaCell>(name, shape, "", [member](const Node& at, NumaCell& into) {
    at.each([&](const Node& cpu) {
      (into.*member).push_back(static_cast<int>(cpu.integer(0, INT32_MAX)));
    });
  });
}

const Keys<NumaCell>& cell_keys() {
  static const Keys<NumaCell> keys{
      {integer<&NumaCell::id>("id", 0, INT32_MAX, ""), cpus("cpuset", &NumaCell::cpuset),
       cpus("pcpuset", &NumaCell::pcpuset)},
      {},
      nullptr};
  return keys;
}

struct Flavor {
  std::optional<std::string> name;
};
const Keys<Flavor>& flavor_keys() {
  static const Keys<Flavor> keys{
      {text<&Flavor::name>("name", "What a guest is told as its instance type")}, {}, nullptr};
  return keys;
}

std::string user_data_of(const Node& node) {
  constexpr std::size_t kLongest = 65535;  // Nova's column
  auto base64 = content_of(node).base64;
  if (base64.size() > kLongest) {
    node.refuse("longer than " + std::to_string(kLongest) + " characters of base64");
  }
  return base64;
}

std::vector<Field<Instance>> of_disks_and_devices() {
  using I = Instance;
  return {
      text<&I::root_device_name>("root_device_name", "As Nova has it"),
      text<&I::default_ephemeral_device>("default_ephemeral_device", "As Nova has it"),
      text<&I::default_swap_device>("default_swap_device", "As Nova has it"),
      objects<&I::block_device_mappings>("block_device_mappings", mapping_keys(), "Its disks"),
      objects<&I::device_metadata>("device_metadata", device_keys(), "Its tagged devices"),
      objects<&I::numa_topology>("numa_topology", cell_keys(), "Its NUMA cells"),
  };
}

std::vector<Field<Instance>> of_metadata() {
  const Shape texts_of_names{Shape::Kind::texts};
  return {
      special<Instance>("metadata", texts_of_names, "`meta` in meta_data.json; its order is kept",
                        [](const Node& at, Instance& into) {
                          at.expect(at.json().is_object(), "an object");
                          for (const auto& [key, value] : at.json().items()) {
                            at.reading().mistakes.note([&] {
                              into.metadata.emplace_back(key, Node(value, at, key).text());
                            });
                          }
                        }),
      special<Instance>("system_metadata", texts_of_names,
                        "`password_0` to `password_3`: what the guest has posted; `boot_roles`",
                        [](const Node& at, Instance& into) {
                          at.expect(at.json().is_object(), "an object");
                          for (const auto& [key, value] : at.json().items()) {
                            at.reading().mistakes.note([&] {
                              // Not text(): a guest's password may hold any character.
                              Node(value, at, key).expect(value.is_string(), "a string");
                              into.system_metadata.emplace(key, value.template get<std::string>());
                            });
                          }
                        }),
  };
}

std::vector<Field<Instance>> of_contents() {
  using I = Instance;
  return {
      field<&I::user_data>(
          "user_data", {Shape::Kind::content},
          "What cloud-init is to do: a text (`#cloud-config`, `#!`, …), base64, or "
          "an object that says which",
          Need::optional, user_data_of),
      field<&I::vendor_data>("vendor_data", {Shape::Kind::content},
                             "The same from the operator, as `cloud-init` in vendor_data.json",
                             Need::optional, text_content_of),
      objects<&I::personality>("personality", file_keys(), "Files; on a config drive only"),
      special<I>("admin_pass", {Shape::Kind::text}, "On a config drive only; never kept",
                 [](const Node& at, I&) { static_cast<void>(at.text()); }),
      boolean<&I::config_drive>("config_drive", "Carried"),
      special<I>("network_info", {Shape::Kind::carried, true},
                 "Nova's cached network model; absent: derived from its ports and their subnets",
                 [](const Node& at, I& into) {
                   at.each(check_vif);
                   into.network_info = at.json().dump();
                 }),
  };
}

std::vector<Field<Instance>> all_fields() {
  using I = Instance;
  static const Shape flavor_shape{Shape::Kind::object, false, 0, 0, {}, flavor_keys().list()};
  std::vector<Field<Instance>> all{
      id<&I::uuid>("uuid", "Its uuid, or any id", Need::required),
      text<&I::project_id>("project_id", "Whose it is; default: its ports'"),
      text<&I::user_id>("user_id", "Who made it"),
      text<&I::name>("name", "A name for people"),
      text<&I::display_name>("display_name", "`name` in meta_data.json; default: `name`"),
      text<&I::hostname>("hostname", "Default: of `display_name` by Nova's rule, when it comes"),
      integer<&I::launch_index>("launch_index", 0, INT32_MAX, "Default: 0"),
      text<&I::availability_zone>("availability_zone", "Default: `nova`"),
      text<&I::reservation_id>("reservation_id", "Default: given once, and kept"),
      text<&I::image_ref>("image_ref", "The image's uuid"),
      text<&I::kernel_id>("kernel_id", "The kernel's image"),
      text<&I::ramdisk_id>("ramdisk_id", "The ramdisk's image"),
      object<&I::ec2_ids>("ec2_ids", ec2_keys(),
                          "EC2's ids; those not given are given once, kept, and never used again"),
      special<I>("flavor", flavor_shape, "Its flavor; default: `custom`",
                 [](const Node& at, I& into) {
                   Flavor flavor;
                   read_object(at, flavor_keys(), flavor);
                   into.flavor_name = flavor.name;
                 }),
      text<&I::key_name>("key_name", "The SSH key's name; default: of the first of `keypairs`"),
      text<&I::key_data>("key_data", "Its bytes; default: as `keypairs` has them"),
      objects<&I::keypairs>("keypairs", keypair_keys(), "Its keys"),
      texts<&I::security_groups>("security_groups", "Names"),
      metatap_key<I>(),
  };
  for (auto more : {of_metadata(), of_contents(), of_disks_and_devices()}) {
    std::ranges::move(more, std::back_inserter(all));
  }
  return all;
}

}  // namespace

const Keys<Instance>& instance_keys() {
  static const Keys<Instance> keys{all_fields(), {}, nullptr};
  return keys;
}

}  // namespace metatap
