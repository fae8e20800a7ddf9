// SPDX-License-Identifier: Apache-2.0
// Guests in few words, and what becomes of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.hpp"
#include "inventory/document.hpp"
#include "inventory/write_document.hpp"
#include "unit/inventory/differences.hpp"

namespace metatap {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string with(const std::string& guests) {
  return R"({"format": "metatap-inventory/1", "guests": [)" + guests + "]}";
}

Inventory read(const std::string& guests, const DocumentFiles& files = nullptr) {
  auto inventory = parse_document(with(guests), {}, files);
  EXPECT_TRUE(inventory) << inventory.error().message;
  return inventory.value_or(Inventory{});
}
std::string error_of(const std::string& guests) {
  const auto refused = parse_document(with(guests));
  return refused ? "it was taken" : refused.error().message;
}

constexpr auto kFew = R"({"device": "vnet0", "hostname": "vm1", "ssh_keys": ["ssh-ed25519 AAAA a"],
                          "user_data": "#cloud-config\n"})";

TEST(Guest, IsANetworkAPortAndAnInstance) {
  const auto inventory = read(kFew);
  ASSERT_EQ(inventory.instances.size(), 1U);
  ASSERT_EQ(inventory.ports.size(), 1U);
  ASSERT_EQ(inventory.networks.size(), 1U);
  const auto& instance = *inventory.instances.begin()->second;
  EXPECT_EQ(instance.name, "vm1");
  EXPECT_EQ(instance.hostname, "vm1");
  EXPECT_EQ(instance.key_data, "ssh-ed25519 AAAA a");
  EXPECT_EQ(base64_decoded(*instance.user_data), "#cloud-config\n");
  const auto& port = *inventory.ports.begin()->second;
  EXPECT_EQ(port.device, "vnet0");
  EXPECT_EQ(port.device_id, instance.uuid);
  EXPECT_EQ(port.mac_policy, MacPolicy::any);
  EXPECT_EQ(port.address_policy, AddressPolicy::learn);
  EXPECT_EQ(inventory.networks.begin()->second->name, "default");
}

TEST(Guest, HasTheSameIdsEachTimeAndInAnyCompany) {
  const auto alone = read(kFew);
  const auto among = read(R"({"device": "vnet9", "name": "other"}, )" + std::string(kFew));
  const auto& id = alone.instances.begin()->first;
  // What is in databases already must not change.
  EXPECT_EQ(id, "362c31e1-4521-56a9-a2a7-623ec9380663");
  ASSERT_TRUE(among.instances.contains(id));
  EXPECT_EQ(*among.instances.at(id), *alone.instances.begin()->second);
  EXPECT_TRUE(among.ports.contains(alone.ports.begin()->first));
  EXPECT_THAT(alone.instances.begin()->second->ec2_ids.instance_id.value(), StartsWith("i-"));
  EXPECT_THAT(alone.instances.begin()->second->reservation_id.value(), StartsWith("r-"));
}

TEST(Guest, GoesThroughAndBackAsItsObjects) {
  const auto good = read(std::string(kFew) + R"(, {"name": "b", "id": "b-1",
    "mac": "02:00:00:00:00:01", "device": "vnet1", "addresses": ["10.0.0.5/24"]})");
  const auto again = parse_document(write_document(good));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(differences(good, *again), "nothing to change\n");
}

TEST(Guest, ImpliesTheSubnetOfItsAddress) {
  const auto inventory = read(R"({"name": "a", "device": "t0", "mac": "02:00:00:00:00:01",
    "network": "blue", "addresses": ["10.0.0.5/24", "fd00::5/64"], "gateway": "10.0.0.1",
    "dns": ["10.0.0.2"], "dhcp": false, "metatap": {"when_down": "refuse"}},
    {"name": "b", "device": "t1", "mac": "02:00:00:00:00:02", "network": "blue",
     "addresses": ["10.0.0.6"]})");
  ASSERT_EQ(inventory.subnets.size(), 2U);
  for (const auto& [id, port] : inventory.ports) {
    EXPECT_EQ(port->address_policy, AddressPolicy::strict);
    EXPECT_EQ(port->mac_policy, MacPolicy::own);
  }
  for (const auto& [id, subnet] : inventory.subnets) {
    EXPECT_FALSE(subnet->enable_dhcp);
    EXPECT_EQ(subnet->gateway_ip,
              subnet->ip_version == 4 ? std::optional<std::string>("10.0.0.1") : std::nullopt);
  }
  EXPECT_EQ(inventory.networks.size(), 1U);
}

TEST(Guest, IsOfANetworkThatIsThere) {
  const auto inventory = parse_document(R"({"format": "metatap-inventory/1",
    "guests": [{"device": "t0", "network": "blue", "addresses": ["10.0.0.5"]}],
    "networks": [{"id": "n-1", "name": "blue"}],
    "subnets": [{"id": "s-1", "network_id": "n-1", "cidr": "10.0.0.0/24"}]})");
  ASSERT_TRUE(inventory) << inventory.error().message;
  const auto& port = *inventory->ports.begin()->second;
  EXPECT_EQ(port.network_id, "n-1");
  EXPECT_EQ(port.fixed_ips.at(0).subnet_id, "s-1");
}

TEST(Guest, MayHaveSeveralInterfaces) {
  const auto inventory = read(R"({"name": "a", "interfaces": [
    {"device": "t0", "mac": "02:00:00:00:00:01"}, {"device": "t0", "vlan": 7}]})");
  EXPECT_EQ(inventory.ports.size(), 2U);
  EXPECT_THAT(error_of(R"({"name": "a", "interfaces": [{"device": "t0"}, {"vlan": 7}]})"),
              StartsWith("/guests/0/interfaces/1: \"device\" is required"));
}

TEST(Guest, IsRefusedInItsOwnWords) {
  EXPECT_THAT(error_of(R"({"device": "t0", "ssh_key": ["x"]})"),
              StartsWith("/guests/0/ssh_key: unknown key \"ssh_key\"; did you mean \"ssh_keys\"?"));
  EXPECT_THAT(error_of(R"({"name": "a"})"), StartsWith("/guests/0: \"device\" is required"));
  EXPECT_THAT(error_of(R"({"device": "t0", "addresses": ["10.0.0.5"]})"),
              StartsWith("/guests/0/addresses/0: 10.0.0.5 needs the length of its network"));
  EXPECT_THAT(error_of(R"({"name": "a", "device": "t0"}, {"name": "a", "device": "t1"})"),
              HasSubstr("is /guests/0's already"));
  EXPECT_THAT(error_of(R"({"name": "a", "device": "t0"}, {"name": "b", "device": "t0"})"),
              StartsWith("/guests/1/device: device t0 is port "));
  EXPECT_THAT(error_of(R"({"name": "a", "device": "t0", "mac": "02:00:00:00:00:01"},
                          {"name": "b", "device": "t1", "mac": "02:00:00:00:00:01"})"),
              StartsWith("/guests/1/mac: 02:00:00:00:00:01 of network "));
  EXPECT_THAT(error_of(R"({"device": "t0", "hostname": "a b"})"),
              StartsWith("/guests/0/hostname: \"a b\" is not a host name"));
  EXPECT_THAT(error_of(R"({"device": "t0", "ssh_keys": [""]})"),
              HasSubstr("/guests/0/ssh_keys/0/public_key: an empty key"));
}

TEST(Guest, UserDataIsTextOrBase64OrInAFile) {
  const auto bytes_of = [](const std::string& user_data) {
    const auto inventory =
        read(R"({"device": "t0", "user_data": )" + user_data + "}", [](const std::string& path) {
          return path == "u" ? Result<std::string>(std::string("\x1f\x8b\0gz", 5))
                             : fail(ErrorCode::not_found, path + ": there is no such file");
        });
    return inventory.instances.empty()
               ? std::string("refused")
               : base64_decoded(inventory.instances.begin()->second->user_data.value_or(""))
                     .value_or("none");
  };
  EXPECT_EQ(bytes_of(R"("#!/bin/sh\n")"), "#!/bin/sh\n");
  EXPECT_EQ(bytes_of(R"("{\"ignition\": 1}")"), "{\"ignition\": 1}");
  EXPECT_EQ(bytes_of(R"("I2Nsb3Vk")"), "#cloud");
  EXPECT_EQ(bytes_of(R"({"text": "I2Nsb3Vk"})"), "I2Nsb3Vk");
  EXPECT_EQ(bytes_of(R"({"base64": "I2Nsb3Vk"})"), "#cloud");
  EXPECT_EQ(bytes_of(R"({"file": "u"})"), std::string("\x1f\x8b\0gz", 5));
  EXPECT_THAT(error_of(R"({"device": "t0", "user_data": "hello world!"})"),
              StartsWith("/guests/0/user_data: not base64, nor does it begin"));
  EXPECT_THAT(error_of(R"({"device": "t0", "user_data": {"file": "/etc/shadow"}})"),
              StartsWith("/guests/0/user_data/file: a file is named only in"));
  EXPECT_THAT(error_of(R"({"device": "t0", "user_data": {"text": "a", "base64": ""}})"),
              HasSubstr("/guests/0/user_data: expected one of"));
  const auto absent = parse_document(with(R"({"device": "t0", "user_data": {"file": "no"}})"), {},
                                     [](const std::string& path) -> Result<std::string> {
                                       return fail(ErrorCode::not_found, path + ": is not there");
                                     });
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().message, "/guests/0/user_data/file: no: is not there");
}

TEST(Guest, IsPutIntoWhatIsThere) {
  const auto base = read(kFew);
  auto merged = merge_document(base, PortIndex(base), R"({"name": "vm2", "device": "vnet1"})");
  ASSERT_TRUE(merged) << merged.error().message;
  EXPECT_EQ(merged->instances.size(), 2U);
  EXPECT_EQ(merged->networks.size(), 1U);
  merged = merge_document(base, PortIndex(base), R"({"name": "vm2", "device": "vnet0"})");
  ASSERT_FALSE(merged);
  EXPECT_THAT(merged.error().message, StartsWith("/guests/0/device: device vnet0 is port"));
  EXPECT_EQ(merge_document(base, PortIndex(base),
                           R"({"guests": [{"name": "vm1", "device": "vnet0"}]})", Existing::refuse)
                .error()
                .code,
            ErrorCode::conflict);
  EXPECT_TRUE(
      merge_document(base, PortIndex(base), R"({"server": {"id": "u", "name": "from-nova"}})"));
}

}  // namespace
}  // namespace metatap
