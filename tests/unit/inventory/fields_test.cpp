// SPDX-License-Identifier: Apache-2.0
// Each member of the document: what becomes of it when it is null, left out, empty, or another
// type.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "inventory/document.hpp"
#include "unit/inventory/samples.hpp"

namespace metatap {
namespace {

using Json = nlohmann::ordered_json;
using testing::StartsWith;

constexpr const char* kServed = nullptr;

struct Field {
  const char* pointer;
  const char* absent;  ///< the error's beginning, or kServed
  const char* empty;   ///< of the same type: "", [], {}; a number or a boolean has no such
};

class Fields : public testing::TestWithParam<Field> {
 protected:
  Fields() : document_(Json::parse(kSample)), at_(GetParam().pointer) {}
  static void expect(const Json& document, const char* error) {
    const auto read = parse_document(document.dump());
    if (error == kServed) {
      EXPECT_TRUE(read) << read.error().message;
    } else {
      ASSERT_FALSE(read) << "it was taken";
      EXPECT_THAT(read.error().message, StartsWith(error));
    }
  }
  Json document_;
  Json::json_pointer at_;
};

TEST_P(Fields, NullIsAbsent) {
  document_[at_] = nullptr;
  expect(document_, GetParam().absent);
  Json& parent = document_[at_.parent_pointer()];
  // A value of a table, or an element of a list, that is left out is not there to be looked at.
  if (parent.is_object() && at_.parent_pointer().back() != "metadata" &&
      at_.parent_pointer().back() != "system_metadata") {
    parent.erase(at_.back());
    expect(document_, GetParam().absent);
  }
}

TEST_P(Fields, Empty) {
  Json& value = document_[at_];
  if (value.is_number() || value.is_boolean()) {
    return;  // it is never empty
  }
  value = value.is_array() ? Json::array() : value.is_object() ? Json::object() : Json("");
  expect(document_, GetParam().empty);
}

TEST_P(Fields, OfAnotherType) {
  Json& value = document_[at_];
  value = value.is_string() || value.is_null() ? Json(7) : Json("seven");
  expect(document_, (std::string(GetParam().pointer) + ": expected ").c_str());
}

const std::vector<Field> kFields{
    {"/networks/0/id", "/networks/0: \"id\" is required", "/networks/0/id: \"\" is not an id"},
    {"/networks/0/name", kServed, kServed},
    {"/networks/0/project_id", kServed, kServed},
    {"/networks/0/mtu", kServed, kServed},
    {"/networks/0/admin_state_up", kServed, kServed},
    {"/networks/0/metatap", kServed, kServed},
    {"/networks/0/metatap/forwarded_inside", kServed,
     "/networks/0/metatap/forwarded_inside: \"\" is none of count, refuse, allow"},
    {"/networks/0/metatap/syn_rate", kServed, kServed},
    {"/networks/0/metatap/connections", kServed, kServed},

    {"/subnets/0/id", "/subnets/0: \"id\" is required", "/subnets/0/id: \"\" is not an id"},
    {"/subnets/0/network_id", "/subnets/0: \"network_id\" is required",
     "/subnets/0/network_id: \"\" is not an id"},
    {"/subnets/0/cidr", "/subnets/0: \"cidr\" is required", "/subnets/0/cidr: \"\" is not a"},
    {"/subnets/0/ip_version", kServed, kServed},
    {"/subnets/0/name", kServed, kServed},
    {"/subnets/0/gateway_ip", kServed, "/subnets/0/gateway_ip: \"\" is not an IP"},
    {"/subnets/0/enable_dhcp", kServed, kServed},
    {"/subnets/0/dns_nameservers", kServed, kServed},
    {"/subnets/0/dns_nameservers/0", "/subnets/0/dns_nameservers/0: expected a string",
     "/subnets/0/dns_nameservers/0: \"\" is not an IP"},
    {"/subnets/0/host_routes", kServed, kServed},
    {"/subnets/0/host_routes/0/destination",
     "/subnets/0/host_routes/0: \"destination\" is required",
     "/subnets/0/host_routes/0/destination: \"\" is not a network"},
    {"/subnets/0/host_routes/0/nexthop", "/subnets/0/host_routes/0: \"nexthop\" is required",
     "/subnets/0/host_routes/0/nexthop: \"\" is not an IP"},
    {"/subnets/1/ipv6_address_mode", kServed, "/subnets/1/ipv6_address_mode: \"\" is none of"},

    {"/routers/0/id", "/routers/0: \"id\" is required", "/routers/0/id: \"\" is not an id"},
    {"/routers/0/name", kServed, kServed},
    {"/routers/0/project_id", kServed, kServed},

    {"/ports/0/id", "/ports/0: \"id\" is required", "/ports/0/id: \"\" is not an id"},
    {"/ports/0/network_id", "/ports/0: \"network_id\" is required",
     "/ports/0/network_id: \"\" is not an id"},
    {"/ports/0/mac_address", kServed, "/ports/0/mac_address: \"\" is not a MAC"},
    {"/ports/1/mac_address", "/ports/1: \"mac_address\" is required",
     "/ports/1/mac_address: \"\" is not a MAC"},
    {"/ports/0/metatap", kServed, kServed},
    {"/ports/0/metatap/when_down", kServed, "/ports/0/metatap/when_down: \"\" is none of"},
    {"/ports/0/device_id", kServed, kServed},
    {"/ports/0/device_owner", kServed, kServed},
    {"/ports/0/project_id", kServed, kServed},
    {"/ports/0/fixed_ips", kServed, kServed},
    {"/ports/0/fixed_ips/0/subnet_id", kServed,
     "/ports/0/fixed_ips/0/subnet_id: \"\" is not an id"},
    {"/ports/0/fixed_ips/0/ip_address", "/ports/0/fixed_ips/0: \"ip_address\" is required",
     "/ports/0/fixed_ips/0/ip_address: \"\" is not an IP"},
    {"/ports/0/allowed_address_pairs", kServed, kServed},
    {"/ports/0/allowed_address_pairs/0/ip_address",
     "/ports/0/allowed_address_pairs/0: \"ip_address\" is required",
     "/ports/0/allowed_address_pairs/0/ip_address: \"\" is not an IP"},
    {"/ports/0/allowed_address_pairs/1/mac_address", kServed,
     "/ports/0/allowed_address_pairs/1/mac_address: \"\" is not a MAC"},
    {"/ports/1/admin_state_up", kServed, kServed},
    {"/ports/0/device", kServed, "/ports/0/device: \"\" cannot be"},
    {"/ports/0/vlan", kServed, kServed},
    {"/ports/0/address_policy", kServed, "/ports/0/address_policy: \"\" is none of"},
    {"/ports/0/mac_policy", kServed, "/ports/0/mac_policy: \"\" is none of"},
    {"/ports/0/metatap/tokens", kServed,
     "/ports/0/metatap/tokens: \"\" is none of off, optional, required, ratchet"},
    {"/ports/0/metatap/boot_window", kServed, kServed},
    {"/ports/0/metatap/read_once", kServed, kServed},
    {"/ports/0/metatap/read_once/0", "/ports/0/metatap/read_once/0: expected a string", kServed},
    {"/instances/0/metatap/sealed", kServed, kServed},

    {"/instances/0/uuid", "/instances/0: \"uuid\" is required",
     "/instances/0/uuid: \"\" is not an id"},
    {"/instances/0/project_id", kServed, kServed},
    {"/instances/0/user_id", kServed, kServed},
    {"/instances/0/name", kServed, kServed},
    {"/instances/0/display_name", kServed, kServed},
    {"/instances/0/hostname", kServed, kServed},
    {"/instances/0/launch_index", kServed, kServed},
    {"/instances/0/availability_zone", kServed,
     "/instances/0/availability_zone: \"\" is not one line"},
    {"/instances/0/reservation_id", kServed, "/instances/0/reservation_id: \"\" is not one line"},
    {"/instances/0/image_ref", kServed, kServed},
    {"/instances/0/kernel_id", kServed, kServed},
    {"/instances/0/ramdisk_id", kServed, kServed},
    {"/instances/0/ec2_ids", kServed, kServed},
    {"/instances/0/ec2_ids/instance_id", kServed,
     "/instances/0/ec2_ids/instance_id: \"\" is not i-"},
    {"/instances/0/ec2_ids/ami_id", kServed, "/instances/0/ec2_ids/ami_id: \"\" is not ami-"},
    {"/instances/0/flavor", kServed, kServed},
    {"/instances/0/flavor/name", kServed, "/instances/0/flavor/name: \"\" is not one line"},
    {"/instances/0/key_name", kServed, kServed},
    {"/instances/0/key_data", kServed, kServed},  // its pair has it
    {"/instances/0/keypairs", kServed, kServed},
    {"/instances/0/keypairs/0/name", "/instances/0/keypairs/0: \"name\" is required",
     "/instances/0/keypairs/0/name: \"\" is not one line"},
    {"/instances/0/keypairs/0/type", kServed, "/instances/0/keypairs/0/type: \"\" is none of"},
    {"/instances/0/keypairs/0/public_key", "/instances/0/keypairs/0: \"public_key\" is required",
     "/instances/0/keypairs/0/public_key: an empty key"},
    {"/instances/0/metadata", kServed, kServed},
    {"/instances/0/metadata/z", "/instances/0/metadata/z: expected a string", kServed},
    {"/instances/0/system_metadata", kServed, kServed},
    {"/instances/0/system_metadata/boot_roles",
     "/instances/0/system_metadata/boot_roles: expected a string", kServed},
    {"/instances/0/user_data", kServed, kServed},
    {"/instances/0/root_device_name", kServed, kServed},
    {"/instances/0/default_ephemeral_device", kServed, kServed},
    {"/instances/0/default_swap_device", kServed, kServed},
    {"/instances/0/block_device_mappings", kServed, kServed},
    {"/instances/0/block_device_mappings/0/source_type", kServed,
     "/instances/0/block_device_mappings/0/source_type: \"\" is none of"},
    {"/instances/0/block_device_mappings/0/destination_type", kServed,
     "/instances/0/block_device_mappings/0/destination_type: \"\" is none of"},
    {"/instances/0/block_device_mappings/0/guest_format", kServed, kServed},
    {"/instances/0/block_device_mappings/0/device_name", kServed,
     "/instances/0/block_device_mappings/0/device_name: \"\" is not one line"},
    {"/instances/0/block_device_mappings/0/boot_index", kServed, kServed},
    {"/instances/0/block_device_mappings/0/volume_id", kServed, kServed},
    {"/instances/0/block_device_mappings/0/volume_size", kServed, kServed},
    {"/instances/0/block_device_mappings/0/tag", kServed, kServed},
    {"/instances/0/device_metadata", kServed, kServed},
    {"/instances/0/device_metadata/0/kind", "/instances/0/device_metadata/0: \"kind\" is required",
     "/instances/0/device_metadata/0/kind: \"\" is none of"},
    {"/instances/0/device_metadata/0/bus", kServed, kServed},
    {"/instances/0/device_metadata/0/bus/type", kServed, kServed},
    {"/instances/0/device_metadata/1/bus/address", kServed, kServed},
    {"/instances/0/device_metadata/1/mac", "/instances/0/device_metadata/1: \"mac\" is required",
     "/instances/0/device_metadata/1/mac: \"\" is not a MAC"},
    {"/instances/0/device_metadata/1/vlan", kServed, kServed},
    {"/instances/0/device_metadata/1/vf_trusted", kServed, kServed},
    {"/instances/0/device_metadata/0/serial", kServed, kServed},
    {"/instances/0/device_metadata/2/path", kServed, kServed},
    {"/instances/0/device_metadata/2/share_id",
     "/instances/0/device_metadata/2: \"share_id\" is required",
     "/instances/0/device_metadata/2/share_id: \"\" is not one line"},
    {"/instances/0/device_metadata/2/tag", "/instances/0/device_metadata/2: \"tag\" is required",
     "/instances/0/device_metadata/2/tag: \"\" is not one line"},
    {"/instances/0/device_metadata/0/tags", kServed, kServed},
    {"/instances/0/numa_topology", kServed, kServed},
    {"/instances/0/numa_topology/0/id", kServed, kServed},
    {"/instances/0/numa_topology/0/cpuset", kServed, kServed},
    {"/instances/0/numa_topology/0/pcpuset", kServed, kServed},
    {"/instances/0/security_groups", kServed, kServed},
    {"/instances/0/security_groups/0", "/instances/0/security_groups/0: expected a string",
     "/instances/0/security_groups/0: \"\" is not one line"},
    {"/instances/0/network_info", kServed, kServed},
    {"/instances/0/network_info/0/id", "/instances/0/network_info/0: \"id\" is required",
     "/instances/0/network_info/0/id: an empty id"},
    {"/instances/0/network_info/0/network", kServed, kServed},
    {"/instances/0/network_info/0/network/subnets", kServed, kServed},
    {"/instances/0/network_info/0/network/subnets/0/cidr",
     "/instances/0/network_info/0/network/subnets/0: \"cidr\" is required",
     "/instances/0/network_info/0/network/subnets/0/cidr: \"\" is not a network"},
    {"/instances/0/personality", kServed, kServed},
    {"/instances/0/personality/0/path", "/instances/0/personality/0: \"path\" is required",
     "/instances/0/personality/0/path: an empty path"},
    {"/instances/0/personality/0/contents", "/instances/0/personality/0: \"contents\" is required",
     kServed},
    {"/instances/0/admin_pass", kServed, kServed},
    {"/instances/0/config_drive", kServed, kServed},
};

INSTANTIATE_TEST_SUITE_P(Document, Fields, testing::ValuesIn(kFields), [](const auto& each) {
  std::string name;
  for (const char c : std::string_view(each.param.pointer).substr(1)) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
});

/// The message by which a document is refused that has this in its first instance.
std::string refusal(const char* member, const char* value) {
  auto document = Json::parse(kSample);
  document["instances"][0][Json::json_pointer(member)] = Json::parse(value);
  const auto read = parse_document(document.dump());
  return read ? "" : read.error().message;
}

TEST(Values, ThatNovaCannotHaveAreRefused) {
  EXPECT_THAT(refusal("/hostname", R"("a b")"), StartsWith("/instances/0/hostname: \"a b\""));
  EXPECT_THAT(refusal("/hostname", R"("a\nb")"), StartsWith("/instances/0/hostname: "));
  EXPECT_EQ(refusal("/hostname", R"("web_1.größe.example")"), "");
  EXPECT_THAT(refusal("/project_id", R"("a\r\nb")"), StartsWith("/instances/0/project_id: "));
  EXPECT_THAT(refusal("/key_name", R"("a\n1=b")"), StartsWith("/instances/0/key_name: "));
  EXPECT_THAT(refusal("/security_groups/1", R"("a\nb")"),
              StartsWith("/instances/0/security_groups/1: "));
  EXPECT_THAT(refusal("/metadata", R"({"": "x"})"), StartsWith("/instances/0/metadata/: "));
  EXPECT_THAT(refusal("/block_device_mappings/0", R"({"source_type": "blank"})"),
              StartsWith("/instances/0/block_device_mappings/0: \"device_name\" is required"));
  EXPECT_THAT(refusal("/keypairs/0/type", R"("rsa")"),
              StartsWith("/instances/0/keypairs/0/type: "));
  const auto subnet = [](const std::string& more) {
    return refusal("/network_info/0/network/subnets/0",
                   (R"({"cidr": "10.70.0.0/22", )" + more + "}").c_str());
  };
  EXPECT_EQ(subnet(R"("version": 4, "gateway": {"address": null})"), "");
  EXPECT_THAT(subnet(R"("version": 6)"), testing::HasSubstr("/version: the cidr is of IPv4"));
  EXPECT_THAT(subnet(R"("ips": [{"address": null}])"),
              testing::HasSubstr("/ips/0: \"address\" is required"));
  EXPECT_THAT(subnet(R"("dns": [{}])"), testing::HasSubstr("/dns/0: \"address\" is required"));
  EXPECT_THAT(subnet(R"("routes": [{"cidr": "10.0.0.0/8"}])"),
              testing::HasSubstr("/routes/0: \"gateway\" is required"));
  EXPECT_THAT(subnet(R"("meta": {"ipv6_address_mode": "none"})"),
              testing::HasSubstr("/meta/ipv6_address_mode: \"none\" is none of"));
  EXPECT_THAT(refusal("/network_info/0/network/meta", R"({"mtu": "1500"})"),
              testing::HasSubstr("/meta/mtu: expected an integer"));
}

TEST(Values, AKeyIsCompletedFromItsPair) {
  const auto key = [](const char* members) {
    const auto read = parse_document(
        std::string(R"({"format": "metatap-inventory/1", "instances": [{"uuid": "u", )") + members +
        "}]}");
    if (!read) {
      return read.error().message;
    }
    const Instance& instance = *read->instances.at("u");
    return instance.key_name.value_or("-") + " " + instance.key_data.value_or("-");
  };
  const std::string pair = R"("keypairs": [{"name": "k", "public_key": "ssh-ed25519 A"}])";
  EXPECT_EQ(key(pair.c_str()), "k ssh-ed25519 A");
  EXPECT_EQ(key((R"("key_name": "k", )" + pair).c_str()), "k ssh-ed25519 A");
  EXPECT_EQ(key(R"("key_name": "k", "key_data": "ssh-rsa B")"), "k ssh-rsa B");
  EXPECT_EQ(key(R"("name": "none")"), "- -");
  EXPECT_THAT(key((R"("key_name": "other", )" + pair).c_str()),
              StartsWith("/instances/0/key_name: there is no such key"));
  EXPECT_THAT(key(R"("key_name": "k")"), StartsWith("/instances/0/key_name: there is no such key"));
  EXPECT_THAT(key(R"("key_data": "ssh-rsa B")"), StartsWith("/instances/0/key_data: a key needs"));
}

}  // namespace
}  // namespace metatap
