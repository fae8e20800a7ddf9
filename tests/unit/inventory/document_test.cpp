// SPDX-License-Identifier: Apache-2.0
#include "inventory/document.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <tuple>

#include "inventory/hostname.hpp"
#include "inventory/write_document.hpp"
#include "unit/inventory/differences.hpp"
#include "unit/inventory/samples.hpp"

namespace metatap {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Inventory read(std::string_view text) {
  auto inventory = parse_document(text);
  EXPECT_TRUE(inventory) << inventory.error().message;
  return inventory.value_or(Inventory{});
}

TEST(Document, CarriesEverythingThroughAndBack) {
  const auto first = read(kSample);
  const auto second = read(write_document(first));
  EXPECT_EQ(differences(first, second), "nothing to change\n");
  EXPECT_EQ(write_document(first), write_document(second));
}

TEST(Document, ReadsEachField) {
  const auto inventory = read(kSample);
  const auto& port = *inventory.ports.at("p-1");
  EXPECT_EQ(port.mac_address, "fa:16:3e:00:00:1f");
  EXPECT_EQ(port.fixed_ips.at(1).ip_address, "fd00:70::1f");
  EXPECT_EQ(port.allowed_address_pairs.at(0).ip_address, "10.70.1.0/24");
  EXPECT_EQ(port.address_policy, AddressPolicy::learn);
  EXPECT_EQ(port.mac_policy, MacPolicy::any);
  EXPECT_EQ(inventory.ports.at("p-2")->mac_policy, MacPolicy::own);
  EXPECT_EQ(port.vlan, 7);
  EXPECT_EQ(port.access.tokens, TokenMode::ratchet);
  EXPECT_EQ(port.access.boot_window, std::chrono::seconds(900));
  EXPECT_EQ(port.access.sealed, std::nullopt);
  EXPECT_EQ(port.access.read_once, std::vector<std::string>{"user_data"});
  EXPECT_EQ(inventory.networks.at("n-1")->access.forwarded_inside, ForwardedInside::allow);
  EXPECT_EQ(inventory.networks.at("n-1")->access.syn_rate, 300);
  EXPECT_EQ(inventory.networks.at("n-1")->access.connections, 32);
  EXPECT_EQ(inventory.instances.at("i-1")->access.sealed, false);
  EXPECT_EQ(port.treatment.when_down, WhenDown::refuse);
  EXPECT_EQ(inventory.ports.at("p-2")->treatment.when_down, std::nullopt);
  const auto& instance = *inventory.instances.at("i-1");
  EXPECT_EQ(instance.metadata.at(0), std::pair(std::string("z"), std::string("größe")));
  EXPECT_EQ(instance.metadata.at(1).first, "a/b");
  EXPECT_TRUE(instance.device_metadata->at(0).has_serial);
  EXPECT_EQ(instance.device_metadata->at(0).serial, std::nullopt);
  EXPECT_FALSE(instance.device_metadata->at(0).has_path);
  EXPECT_EQ(instance.numa_topology->at(0).pcpuset, (std::vector{4, 2}));
  EXPECT_EQ(instance.user_data, "I2Nsb3Vk");
  EXPECT_EQ(instance.vendor_data, "#cloud-config\n");
  // The network cache keeps its keys, known or not, in their order.
  EXPECT_EQ(instance.network_info,
            R"([{"zz":1,"id":"p-1","network":{"subnets":[{"cidr":"10.70.0.0/22"}]},"aa":null}])");
}

TEST(Document, NeverKeepsTheAdminPassword) {
  EXPECT_THAT(write_document(read(kSample)), testing::Not(HasSubstr("s3cret")));
}

TEST(Document, FillsWhatAPersonLeavesOut) {
  const auto inventory = read(R"({"format": "metatap-inventory/1",
    "networks": [{"id": "n", "project_id": "tenant"}],
    "subnets": [{"id": "s", "network_id": "n", "cidr": "10.0.0.0/24", "ip_version": 4}],
    "ports": [{"id": "p", "network_id": "n", "mac_address": "02-00-00-00-00-0A", "device_id": "u",
               "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.5"}]}],
    "instances": [{"uuid": "u", "name": "My Web_server.1"}]})");
  const auto& instance = *inventory.instances.at("u");
  EXPECT_EQ(instance.display_name, "My Web_server.1");
  EXPECT_EQ(instance.hostname, "my-web-server-1");
  EXPECT_EQ(instance.project_id, "tenant");
  EXPECT_EQ(instance.launch_index, 0);
  EXPECT_EQ(inventory.ports.at("p")->project_id, "tenant");
  EXPECT_EQ(inventory.ports.at("p")->mac_address, "02:00:00:00:00:0a");
}

TEST(Hostname, FollowsNovasRule) {
  EXPECT_EQ(hostname_from("Grüße_an.ALLE €5 !", "u"), "grüße-an-alle-5");
  EXPECT_EQ(hostname_from("..--", "u"), "Server-u");
  EXPECT_EQ(hostname_from("日本", "u"), "Server-u");
  EXPECT_EQ(hostname_from(std::string(80, 'x'), "u"), std::string(63, 'x'));
  EXPECT_EQ(hostname_from("ÄÖ×÷½", "u"), "äö½");
}

struct Refusal {
  std::string name, pointer, value, error;
};

/// The sample with one value replaced must be refused, at that place and with that reason.
class Refuses : public testing::TestWithParam<Refusal> {};

TEST_P(Refuses, WithPointerAndReason) {
  auto document = nlohmann::ordered_json::parse(kSample);
  document[nlohmann::ordered_json::json_pointer(GetParam().pointer)] =
      nlohmann::ordered_json::parse(GetParam().value);
  const auto inventory = parse_document(document.dump());
  ASSERT_FALSE(inventory);
  EXPECT_EQ(inventory.error().code, ErrorCode::invalid);
  EXPECT_THAT(inventory.error().message, StartsWith(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    Document, Refuses,
    testing::Values(
        Refusal{"Format", "/format", R"("metatap-inventory/2")",
                "/format: \"metatap-inventory/2\" is not"},
        Refusal{"UnknownTable", "/flavors", "[]", "/flavors: unknown key \"flavors\""},
        Refusal{"UnknownKey", "/ports/0/mac", "1", "/ports/0/mac: unknown key \"mac\""},
        Refusal{"UnknownNestedKey", "/instances/0/flavor/a~1b", "1",
                "/instances/0/flavor/a~1b: unknown key \"a/b\""},
        Refusal{"Required", "/ports/1/mac_address", "null",
                "/ports/1: \"mac_address\" is required"},
        Refusal{"NoSubnetHasIt", "/ports/0/fixed_ips/0", R"({"ip_address": "10.9.9.9"})",
                "/ports/0/fixed_ips/0: \"subnet_id\" is required: not one"},
        Refusal{"Type", "/networks/0/mtu", R"("1500")",
                "/networks/0/mtu: expected an integer, not \"1500\""},
        Refusal{"Range", "/networks/0/mtu", "67", "/networks/0/mtu: 67 is not within 68 to 65535"},
        Refusal{"Huge", "/networks/0/mtu", "18446744073709551615",
                "/networks/0/mtu: 18446744073709551615 is not within"},
        Refusal{"Fraction", "/networks/0/mtu", "1500.5", "/networks/0/mtu: expected an integer"},
        Refusal{"NotAList", "/ports/0/fixed_ips", "{}",
                "/ports/0/fixed_ips: expected an array, not object"},
        Refusal{"NotAnObject", "/ports/0", "[]", "/ports/0: expected an object, not array"},
        Refusal{"NoId", "/networks/0/id", R"("a b")", "/networks/0/id: \"a b\" is not an id"},
        Refusal{"Mac", "/ports/0/mac_address", R"("fa:16")",
                "/ports/0/mac_address: \"fa:16\" is not a MAC"},
        Refusal{"Address", "/ports/0/fixed_ips/0/ip_address", R"("10.70.0")",
                "/ports/0/fixed_ips/0/ip_address: \"10.70.0\" is not an IP address"},
        Refusal{"OutsideSubnet", "/ports/0/fixed_ips/0/ip_address", R"("10.71.0.1")",
                "/ports/0/fixed_ips/0/ip_address: 10.71.0.1 is not within 10.70.0.0/22"},
        Refusal{"Cidr", "/subnets/0/cidr", R"("10.70.0.0")",
                "/subnets/0/cidr: \"10.70.0.0\" is not a network"},
        Refusal{"HostBits", "/subnets/0/cidr", R"("10.70.0.1/22")",
                "/subnets/0/cidr: \"10.70.0.1/22\" has host bits set; 10.70.0.0/22"},
        Refusal{"Family", "/subnets/0/ip_version", "6",
                "/subnets/0/ip_version: the cidr is of IPv4"},
        Refusal{"GatewayFamily", "/subnets/0/gateway_ip", R"("fd00::1")",
                "/subnets/0/gateway_ip: fd00::1 is not of"},
        Refusal{"Mode", "/subnets/1/ipv6_address_mode", R"("ra")",
                "/subnets/1/ipv6_address_mode: \"ra\" is none of slaac,"},
        Refusal{"NoNetwork", "/ports/0/network_id", R"("nope")",
                "/ports/0/network_id: there is no network \"nope\""},
        Refusal{"SubnetNoNetwork", "/subnets/1/network_id", R"("nope")",
                "/subnets/1/network_id: there is no network \"nope\""},
        Refusal{"NoSubnet", "/ports/0/fixed_ips/1/subnet_id", R"("nope")",
                "/ports/0/fixed_ips/1/subnet_id: there is no subnet \"nope\""},
        Refusal{"OtherNetwork", "/ports/1/network_id", R"("n-2")",
                "/ports/1/fixed_ips/0/subnet_id: subnet s-4 is of network n-1"},
        Refusal{"SameId", "/ports/1/id", R"("p-1")", "/ports/1/id: \"p-1\" is /ports/0's already"},
        Refusal{"SameAddress", "/ports/1/fixed_ips/0/ip_address", R"("10.70.0.31")",
                "/ports/1/fixed_ips/0/ip_address: 10.70.0.31 of network n-1 is port p-1's already"},
        Refusal{"SameMac", "/ports/1/mac_address", R"("FA:16:3E:00:00:1F")",
                "/ports/1/mac_address: fa:16:3e:00:00:1f of network n-1 is port p-1's"},
        Refusal{"LongHost", "/ports/0/binding:host_id", '"' + std::string(256, 'h') + '"',
                "/ports/0/binding:host_id: longer than 255 characters"},
        Refusal{"LongOwner", "/ports/0/device_owner", '"' + std::string(256, 'o') + '"',
                "/ports/0/device_owner: longer than 255 characters"},
        Refusal{"Device", "/ports/0/device", R"("a-name-too-long-for-it")",
                "/ports/0/device: \"a-name-too-long-for-it\" cannot be"},
        Refusal{"Vlan", "/ports/0/vlan", "4095", "/ports/0/vlan: 4095 is not within 1 to 4094"},
        Refusal{"UserData", "/instances/0/user_data", R"("I2Nsb3V")",
                "/instances/0/user_data: not base64"},
        Refusal{"Ec2Id", "/instances/0/ec2_ids/instance_id", R"("i-1")",
                "/instances/0/ec2_ids/instance_id: \"i-1\" is not i- and 8 hex"},
        Refusal{"SameEc2Id", "/instances/1/ec2_ids", R"({"instance_id": "i-0000000a"})",
                "/instances/1/ec2_ids/instance_id: i-0000000a is instance i-1's"},
        Refusal{"DeviceKind", "/instances/0/device_metadata/0/kind", R"("gpu")",
                "/instances/0/device_metadata/0/kind: \"gpu\" is none of nic, disk, share"},
        Refusal{"NetworkInfo", "/instances/0/network_info/0/network/subnets/0/cidr", R"("x")",
                "/instances/0/network_info/0/network/subnets/0/cidr: \"x\" is not a network"},
        Refusal{"Metadata", "/instances/0/metadata/z", "1",
                "/instances/0/metadata/z: expected a string, not number"},
        Refusal{"Nul", "/instances/0/hostname", R"("a\u0000b")",
                "/instances/0/hostname: a string with a NUL in it"}),
    [](const auto& each) { return each.param.name; });

TEST(Document, TellsAllMistakesAtOnceEachWithItsPlaceAndWhatMayBeMeant) {
  const auto refused = parse_document(R"({"format": "metatap-inventory/1",
    "network": [],
    "networks": [{"id": "n", "mtu": "big", "nmae": "x"}],
    "ports": [{"id": "p", "network_id": "nope", "mac": "02:00:00:00:00:01"},
              {"id": "q", "network_id": "n", "mac_address": "02:00:00:00:00:02",
               "fixed_ips": [{"ip_address": "10.0.0.x"}, {"subnet_id": "s"}]},
              {"id": "r", "network_id": "gone", "mac_address": "02:00:00:00:00:03"}],
    "instances": [{"uuid": "i", "hostnme": "a", "userdata": "#"},
                  {"uuid": "j", "hostname": "a b", "key_data": "ssh"}]})");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "/networks/0/mtu: expected an integer, not \"big\"\n"
            "/networks/0/nmae: unknown key \"nmae\"; did you mean \"name\"?\n"
            "/ports/0/mac: unknown key \"mac\"; did you mean \"mac_address\"?\n"
            "/ports/0: \"mac_address\" is required, or \"mac_policy\": \"any\"\n"
            "/ports/1/fixed_ips/0/ip_address: \"10.0.0.x\" is not an IP address\n"
            "/ports/1/fixed_ips/1: \"ip_address\" is required\n"
            "/instances/0/hostnme: unknown key \"hostnme\"; did you mean \"hostname\"?\n"
            "/instances/0/userdata: unknown key \"userdata\"; did you mean \"user_data\"?\n"
            "/network: unknown key \"network\"; did you mean \"networks\"?\n"
            "/instances/1/hostname: \"a b\" is not a host name\n"
            "/instances/1/key_data: a key needs a name: \"key_name\"\n"
            "/ports/2/network_id: there is no network \"gone\"");
}

TEST(Document, MetadataIsNoLongerThanNovasMayBe) {
  const auto with = [](const std::string& key, const std::string& value) {
    return parse_document(R"({"format": "metatap-inventory/1", "instances": [{"uuid": "i",
      "metadata": {")" + key +
                          "\": \"" + value + "\"}}]}");
  };
  std::string umlauts;
  for (int i = 0; i < 255; ++i) {
    umlauts += "ä";
  }
  EXPECT_TRUE(with(umlauts, umlauts));
  EXPECT_TRUE(with("role", ""));
  for (const auto& [key, value] :
       {std::pair("role", umlauts + "b"), std::pair("", std::string())}) {
    EXPECT_FALSE(with(key, value));
  }
  const auto refused = with(std::string(256, 'k'), "v");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, StartsWith("/instances/0/metadata: \"kkk"));
}

TEST(Document, TakesWhatNeutronAndNovaAnswerAsItIs) {
  const auto inventory = read(R"({"format": "metatap-inventory/1",
    "networks": [{"id": "n", "name": "private", "status": "ACTIVE", "shared": false,
      "router:external": false, "provider:network_type": "geneve", "tenant_id": "t", "mtu": 1442,
      "subnets": ["s"], "availability_zones": [], "port_security_enabled": true, "tags": []}],
    "subnets": [{"id": "s", "network_id": "n", "tenant_id": "t", "project_id": "t",
      "cidr": "10.0.0.0/26", "ip_version": 4, "gateway_ip": "10.0.0.1", "enable_dhcp": true,
      "ipv6_ra_mode": null, "ipv6_address_mode": null, "subnetpool_id": "x",
      "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.0.62"}], "service_types": []}],
    "ports": [{"id": "p", "name": "", "network_id": "n", "tenant_id": "t", "status": "ACTIVE",
      "mac_address": "fa:16:3e:11:22:33", "device_id": "u", "device_owner": "compute:nova",
      "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.25"}], "security_groups": ["g"],
      "binding:vnic_type": "normal", "binding:profile": {}, "extra_dhcp_opts": [],
      "port_security_enabled": true, "revision_number": 4, "created_at": "2024-01-01T00:00:00Z"},
     {"id": "open", "network_id": "n", "mac_address": "fa:16:3e:11:22:34",
      "port_security_enabled": false}],
    "servers": [{"id": "u", "name": "My Server", "status": "ACTIVE", "tenant_id": "t",
      "user_id": "me", "metadata": {"role": "web"}, "hostId": "h", "image": {"id": "img"},
      "flavor": {"vcpus": 1, "original_name": "m1.tiny"}, "addresses": {"private": []},
      "key_name": "mine", "OS-EXT-AZ:availability_zone": "az1", "config_drive": "",
      "OS-EXT-SRV-ATTR:hostname": "my-server", "OS-EXT-SRV-ATTR:launch_index": 1,
      "OS-EXT-SRV-ATTR:instance_name": "instance-00000007", "OS-EXT-SRV-ATTR:kernel_id": "",
      "OS-EXT-SRV-ATTR:user_data": "I2Nsb3Vk", "OS-EXT-SRV-ATTR:root_device_name": "/dev/vda",
      "security_groups": [{"name": "default"}], "OS-EXT-STS:vm_state": "active", "links": []}]})");
  EXPECT_EQ(inventory.networks.at("n")->project_id, "t");
  EXPECT_EQ(inventory.ports.at("p")->project_id, "t");
  EXPECT_EQ(inventory.ports.at("p")->mac_policy, MacPolicy::own);
  EXPECT_EQ(inventory.ports.at("open")->mac_policy, MacPolicy::any);
  EXPECT_EQ(inventory.ports.at("open")->address_policy, AddressPolicy::learn);
  const auto& server = *inventory.instances.at("u");
  EXPECT_EQ(server.display_name, "My Server");
  EXPECT_EQ(server.name, "instance-00000007");
  EXPECT_EQ(server.hostname, "my-server");
  EXPECT_EQ(server.project_id, "t");
  EXPECT_EQ(server.flavor_name, "m1.tiny");
  EXPECT_EQ(server.image_ref, "img");
  EXPECT_EQ(server.kernel_id, std::nullopt);
  EXPECT_EQ(server.key_name, std::nullopt) << "a name without a key is no key";
  EXPECT_EQ(server.user_data, "I2Nsb3Vk");
  EXPECT_EQ(server.security_groups, std::vector<std::string>{"default"});
  EXPECT_EQ(server.launch_index, 1);
}

TEST(Document, FindsTheSubnetOfAnAddress) {
  const auto inventory = read(R"({"format": "metatap-inventory/1", "networks": [{"id": "n"}],
    "subnets": [{"id": "a", "network_id": "n", "cidr": "10.0.0.0/24"},
                {"id": "b", "network_id": "n", "cidr": "fd00::/64"}],
    "ports": [{"id": "p", "network_id": "n", "mac_address": "02:00:00:00:00:01",
               "fixed_ips": [{"ip_address": "fd00::5"}, {"ip_address": "10.0.0.5"}]}]})");
  EXPECT_EQ(inventory.ports.at("p")->fixed_ips.at(0).subnet_id, "b");
  EXPECT_EQ(inventory.ports.at("p")->fixed_ips.at(1).subnet_id, "a");
  EXPECT_EQ(inventory.subnets.at("b")->ip_version, 6);
}

TEST(Document, RefusesWhatIsNotOneJsonText) {
  EXPECT_THAT(parse_document("").error().message, HasSubstr("parse error at line 1"));
  EXPECT_THAT(parse_document("{\n \"format\": x").error().message, HasSubstr("line 2"));
  EXPECT_THAT(parse_document("[]").error().message, StartsWith("the document: expected an object"));
  EXPECT_THAT(parse_document("{}").error().message, HasSubstr("\"format\" is required"));
  EXPECT_THAT(parse_document(R"({"ports": [{"id": "a", "id": "b"}]})").error().message,
              StartsWith("/ports/0/id: the key is there twice"));
  EXPECT_THAT(parse_document(std::string(100, '[')).error().message,
              HasSubstr("nested too deeply"));
  EXPECT_FALSE(parse_document("{\"format\": \"\xff\"}"));
}

TEST(Document, MergesObjectsIntoWhatIsThere) {
  const auto base = read(kSample);
  auto merged = merge_document(base, PortIndex(base), R"({"uuid": "i-9", "name": "late"})");
  ASSERT_TRUE(merged) << merged.error().message;
  EXPECT_EQ(merged->instances.size(), base.instances.size() + 1);
  EXPECT_EQ(merged->ports.at("p-1"), base.ports.at("p-1"));  // shared, not copied
  merged = merge_document(base, PortIndex(base), R"({"ports": [{"id": "p-9", "network_id": "nope",
                                               "mac_address": "02:00:00:00:00:01"}]})");
  ASSERT_FALSE(merged);
  EXPECT_THAT(merged.error().message, StartsWith("/ports/0/network_id: there is no network"));
}

TEST(Document, RefusesToReplaceWhereItMustNot) {
  const auto base = read(kSample);
  // The same network again replaces nothing; an instance under a known id does.
  EXPECT_TRUE(merge_document(base, PortIndex(base),
                             R"({"networks": [{"id": "n-2", "admin_state_up": false}]})",
                             Existing::refuse));
  const auto refused = merge_document(
      base, PortIndex(base),
      R"({"networks": [{"id": "n-3"}], "instances": [{"uuid": "i-2", "name": "other"}]})",
      Existing::refuse);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  EXPECT_EQ(refused.error().message, "there is i-2 already, in instances");
}

/// Two ports of one device, by what their bindings say.
struct SameDevice {
  std::string name, first, second;
  bool taken;
  std::string more_of_both = "";
};

class OneDevice : public testing::TestWithParam<SameDevice> {
 protected:
  static std::string port(const char* id, const std::string& binding) {
    return std::string(R"({"network_id": "n", "mac_policy": "any", "device": "vnet0", "id": ")") +
           id + '"' + GetParam().more_of_both + binding + "}";
  }
  static constexpr auto kFormat =
      R"({"format": "metatap-inventory/1", "networks": [{"id": "n"}], "ports": [)";
  const std::string first_ = port("a", GetParam().first), second_ = port("b", GetParam().second);
};

/// In one document, put to what is there, and in either order.
TEST_P(OneDevice, IsOnePortsOfEachHost) {
  const auto refused = [](const Result<Inventory>& read, std::string_view id) {
    EXPECT_EQ(read.has_value(), GetParam().taken);
    if (!read) {
      EXPECT_THAT(read.error().message, HasSubstr(" is port " + std::string(id) + "'s already"));
    }
  };
  for (const auto& [one, other, id] :
       {std::tuple(&first_, &second_, "a"), std::tuple(&second_, &first_, "b")}) {
    refused(parse_document(kFormat + *one + "," + *other + "]}"), id);
    const auto base = read(kFormat + *one + "]}");
    refused(merge_document(base, PortIndex(base), R"({"ports": [)" + *other + "]}"), id);
  }
}

constexpr auto kAt1 = R"(, "binding:host_id": "h-1")", kAt2 = R"(, "binding:host_id": "h-2")";
std::string on_its_way(const std::string& binding, const std::string& next) {
  return binding + R"(, "binding:profile": {"migrating_to": ")" + next + "\"}";
}

INSTANTIATE_TEST_SUITE_P(
    Document, OneDevice,
    testing::Values(
        SameDevice{"TwoHosts", kAt1, kAt2, true}, SameDevice{"OneHost", kAt1, kAt1, false},
        SameDevice{"OneNowhere", kAt1, "", false}, SameDevice{"BothNowhere", "", "", false},
        SameDevice{"OneOnItsWayToNobodysHost", on_its_way(kAt1, "h-3"), kAt2, true},
        SameDevice{"OneOnItsWayToTheOthers", on_its_way(kAt1, "h-2"), kAt2, false},
        SameDevice{"ToEachOthers", on_its_way(kAt1, "h-2"), on_its_way(kAt2, "h-1"), false},
        SameDevice{"ToOneHost", on_its_way(kAt1, "h-3"), on_its_way(kAt2, "h-3"), false},
        SameDevice{"FromNowhere", on_its_way("", "h-1"), kAt2, false},
        SameDevice{"OneHostsTrunk", kAt1, kAt1, false, R"(, "vlan": 7)"},
        SameDevice{"TwoHostsTrunks", kAt1, kAt2, true, R"(, "vlan": 7)"}),
    [](const auto& each) { return each.param.name; });

TEST(Document, ThreeHostsHaveADeviceOfOneNameAndAFourthPortDoesNot) {
  const auto with = [](const std::string& last) {
    std::string ports;
    for (const std::string host : {"h-1", "h-2", "h-3", last.c_str()}) {
      ports +=
          (ports.empty() ? "" : ",") +
          std::string(R"({"network_id": "n", "mac_policy": "any", "device": "vnet0", "id": ")") +
          std::to_string(ports.size()) + R"(", "binding:host_id": ")" + host + "\"}";
    }
    return parse_document(
        R"({"format": "metatap-inventory/1", "networks": [{"id": "n"}], "ports": [)" + ports +
        "]}");
  };
  EXPECT_TRUE(with("h-4"));
  for (const auto* taken : {"h-1", "h-2", "h-3", ""}) {
    EXPECT_FALSE(with(taken)) << taken;
  }
}

TEST(Plan, NamesWhatIsAddedChangedAndRemoved) {
  const auto before = read(kSample);
  auto after = before;
  after.routers.clear();
  auto network = *after.networks.at("n-1");
  network.mtu = 9000;
  after.networks["n-1"] = std::make_shared<Network>(network);
  after.instances["i-9"] = std::make_shared<Instance>();
  const auto text = differences(before, after);
  EXPECT_THAT(text, HasSubstr("networks   0 added, 1 changed, 0 removed\n  ~ n-1\n"));
  EXPECT_THAT(text, HasSubstr("routers    0 added, 0 changed, 1 removed\n  - r-1\n"));
  EXPECT_THAT(text, HasSubstr("instances  1 added, 0 changed, 0 removed\n  + i-9\n"));
  EXPECT_EQ(differences(before, before), "nothing to change\n");
}

}  // namespace
}  // namespace metatap
