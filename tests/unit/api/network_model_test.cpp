// SPDX-License-Identifier: Apache-2.0
// network_data.json and the injected template: Nova's netutils tests.
#include "api/network_model.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

VifSubnet v4_subnet() {
  VifSubnet subnet;
  subnet.cidr = "10.10.0.0/24";
  subnet.gateway = "10.10.0.1";
  subnet.dns = {"1.2.3.4", "2.3.4.5"};
  subnet.ips = {{"10.10.0.2", {}}};
  subnet.routes = {{"10.11.12.13/24", "10.10.0.254"}};
  return subnet;
}

VifSubnet v6_subnet() {
  VifSubnet subnet;
  subnet.version = 6;
  subnet.cidr = "1234:567::/48";
  subnet.gateway = "1234:567::1";
  subnet.dns = {"2001:4860:4860::8888"};
  subnet.ips = {{"1234:567::2", {}}};
  subnet.routes = {{"2001:db8::1/64", "1234:567::fe"}};
  return subnet;
}

Vif sample_vif() {
  Vif vif;
  vif.id = "vif-1";
  vif.type = "ovs";
  vif.devname = "tapvif-1";
  vif.address = "aa:aa:aa:aa:aa:aa";
  vif.network_id = "net-1";
  vif.mtu = "1450";
  vif.has_network = true;
  vif.subnets = {v4_subnet(), v6_subnet()};
  return vif;
}

nlohmann::ordered_json data_of(const NetworkModel& model) {
  return nlohmann::ordered_json::parse(network_data_json(model));
}

TEST(NetworkData, NothingForNoVif) {
  EXPECT_EQ(network_data_json({}), "{}");
  Vif bare;
  bare.id = "x";
  EXPECT_EQ(network_data_json({bare}), R"({"links": [], "networks": [], "services": []})");
}

TEST(NetworkData, StaticFormIsNovasByteForByte) {
  EXPECT_EQ(
      network_data_json({sample_vif()}),
      R"({"links": [{"id": "tapvif-1", "vif_id": "vif-1", "type": "ovs", "mtu": 1450, )"
      R"("ethernet_mac_address": "aa:aa:aa:aa:aa:aa"}], "networks": [{"id": "network0", )"
      R"("type": "ipv4", "link": "tapvif-1", "ip_address": "10.10.0.2", )"
      R"("netmask": "255.255.255.0", "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", )"
      R"("gateway": "10.10.0.1"}, {"network": "10.11.12.0", "netmask": "255.255.255.0", )"
      R"("gateway": "10.10.0.254"}], "network_id": "net-1", "services": [{"type": "dns", )"
      R"("address": "1.2.3.4"}, {"type": "dns", "address": "2.3.4.5"}]}, {"id": "network1", )"
      R"("type": "ipv6", "link": "tapvif-1", "ip_address": "1234:567::2", )"
      R"("netmask": "ffff:ffff:ffff::", "routes": [{"network": "::", "netmask": "::", )"
      R"("gateway": "1234:567::1"}, {"network": "2001:db8::", "netmask": "ffff:ffff:ffff:ffff::", )"
      R"("gateway": "1234:567::fe"}], "network_id": "net-1", "services": [{"type": "dns", )"
      R"("address": "2001:4860:4860::8888"}]}], "services": [{"type": "dns", "address": "1.2.3.4"}, )"
      R"({"type": "dns", "address": "2.3.4.5"}, {"type": "dns", "address": "2001:4860:4860::8888"}]})");
}

TEST(NetworkData, DhcpIsTheShortForm) {
  Vif vif = sample_vif();
  vif.subnets[0].dhcp_server = "10.10.0.3";
  vif.subnets[1].enable_dhcp = true;
  const auto data = data_of({vif});
  EXPECT_EQ(data["networks"][0].dump(),
            R"({"id":"network0","type":"ipv4_dhcp","link":"tapvif-1","network_id":"net-1"})");
  EXPECT_EQ(data["networks"][1].dump(),
            R"({"id":"network1","type":"ipv6_dhcp","link":"tapvif-1","network_id":"net-1"})");
  EXPECT_TRUE(data["links"][0]["mtu"].is_null());
  EXPECT_EQ(data["services"].size(), 3U);
}

TEST(NetworkData, EnableDhcpAloneKeepsTheMtu) {
  Vif vif = sample_vif();  // OVN: no DHCP port
  vif.subnets[0].enable_dhcp = vif.subnets[1].enable_dhcp = true;
  EXPECT_EQ(data_of({vif})["links"][0]["mtu"], 1450);
  vif.mtu.reset();
  EXPECT_TRUE(data_of({vif})["links"][0]["mtu"].is_null());
}

TEST(NetworkData, AddressModeComesFirstAndIsTheFullForm) {
  for (const auto* mode : {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"}) {
    Vif vif = sample_vif();
    vif.subnets[1].ipv6_address_mode = mode;
    vif.subnets[1].dhcp_server = "1234:567::3";
    vif.subnets[1].enable_dhcp = true;
    const auto network = data_of({vif})["networks"][1];
    EXPECT_EQ(network["type"], std::string("ipv6_") + mode);
    EXPECT_EQ(network["ip_address"], "1234:567::2");
  }
}

TEST(NetworkData, LinkTypesAndNames) {
  Vif vif = sample_vif();
  vif.devname.clear();
  vif.type = "ethernet";
  Vif second = sample_vif();
  second.id = "vif-2";
  second.devname.clear();
  second.type = "vif";
  Vif skipped;
  skipped.id = "skipped";
  const auto data = data_of({skipped, vif, second});
  EXPECT_EQ(data["links"][0]["id"], "interface0");
  EXPECT_EQ(data["links"][0]["type"], "phy");
  EXPECT_EQ(data["links"][1]["id"], "interface1");
  EXPECT_EQ(data["links"][1]["type"], "vif");
  EXPECT_EQ(data["networks"][3]["id"], "network3");
  EXPECT_EQ(data["networks"][3]["link"], "interface1");
}

TEST(NetworkData, FirstSubnetOfEachFamilyAndItsFirstAddress) {
  Vif vif = sample_vif();
  VifSubnet other = v4_subnet();
  other.cidr = "10.99.0.0/24";
  other.ips = {{"10.99.0.9", {}}};
  vif.subnets.push_back(other);
  vif.subnets[0].ips.push_back({"10.10.0.77", {}});
  EXPECT_EQ(data_of({vif})["networks"].size(), 2U);
  vif.subnets[0].ips.clear();  // a link, but no network
  const auto data = data_of({vif});
  EXPECT_EQ(data["links"].size(), 1U);
  EXPECT_EQ(data["networks"].size(), 1U);
  EXPECT_EQ(data["networks"][0]["id"], "network0");
  EXPECT_EQ(data["networks"][0]["type"], "ipv6");
}

TEST(NetworkData, DnsOnceAcrossSubnetsTwiceWithinOne) {
  Vif first = sample_vif(), second = sample_vif();
  first.subnets[0].dns = {"9.9.9.9", "9.9.9.9"};
  second.subnets[0].dns = {"8.8.8.8", "9.9.9.9"};
  std::vector<std::string> services;
  const auto data = data_of({first, second});
  for (const auto& service : data["services"]) {
    services.push_back(service["address"]);
  }
  EXPECT_EQ(services,
            (std::vector<std::string>{"9.9.9.9", "9.9.9.9", "2001:4860:4860::8888", "8.8.8.8"}));
}

TEST(NetworkData, NoGatewayNoDefaultRoute) {
  Vif vif = sample_vif();
  vif.subnets[0].gateway.reset();
  EXPECT_EQ(data_of({vif})["networks"][0]["routes"].size(), 1U);
  vif.subnets[0].routes.clear();
  EXPECT_EQ(data_of({vif})["networks"][0]["routes"].size(), 0U);
}

TEST(NetworkData, EdgeNetmasks) {
  Vif vif = sample_vif();
  vif.subnets[0].cidr = "10.10.0.2/32";
  vif.subnets[1].cidr = "::/0";
  const auto data = data_of({vif});
  EXPECT_EQ(data["networks"][0]["netmask"], "255.255.255.255");
  EXPECT_EQ(data["networks"][1]["netmask"], "::");
  vif.subnets[1].cidr = "fe80::/128";
  EXPECT_EQ(data_of({vif})["networks"][1]["netmask"], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
  vif.subnets[0].cidr = "rubbish";  // never a crash
  EXPECT_EQ(data_of({vif})["networks"][0]["netmask"], "");
}

TEST(NetworkModel, RefusesWhatIsNoListOfVifs) {
  EXPECT_FALSE(network_model_from_json("{}"));
  EXPECT_FALSE(network_model_from_json("["));
  const auto odd = network_model_from_json(R"([{"id": 5, "network": null}, "x", null])");
  ASSERT_TRUE(odd);
  EXPECT_EQ(network_data_json(*odd), R"({"links": [], "networks": [], "services": []})");
}

TEST(NetworkModel, GatewayOfNullIsNone) {
  const auto model = network_model_from_json(
      R"([{"id": "v", "network": {"id": "n", "subnets": [{"cidr": "10.0.0.0/8", "version": 4,
          "gateway": {"address": null}, "ips": [{"address": "10.0.0.1"}], "routes": []}],
          "meta": {}}}])");
  ASSERT_TRUE(model);
  EXPECT_EQ(data_of(*model)["networks"][0]["routes"].size(), 0U);
  EXPECT_EQ(first_ipv4(*model), "10.0.0.1");
  EXPECT_TRUE(data_of(*model)["links"][0]["ethernet_mac_address"].is_null());
}

TEST(NetworkModel, IsDerivedFromPortsAndSubnets) {
  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  Subnet v6;
  v6.id = "sub6";
  v6.network_id = "net";
  v6.cidr = "fd00::/64";
  v6.ip_version = 6;
  v6.ipv6_address_mode = "slaac";
  v6.gateway_ip = "fd00::1";
  v6.host_routes = {{"fd01::/64", "fd00::9"}};
  inventory.subnets["sub6"] = std::make_shared<const Subnet>(v6);
  Port port = sample_port("ce9153db-08f3-55d0", kUuid, "10.0.0.7");
  port.fixed_ips.push_back({"sub6", "fd00::7"});
  port.fixed_ips.push_back({"sub", "10.0.0.8"});
  port.fixed_ips.push_back({"gone", "10.9.9.9"});
  add_port(inventory, port);
  const auto derive = [&] {
    const InventoryIndex index(std::make_shared<const Inventory>(inventory));
    return network_model_from_ports(index, kUuid);
  };
  EXPECT_EQ(
      network_data_json(derive()),
      R"({"links": [{"id": "tapce9153db-08", "vif_id": "ce9153db-08f3-55d0", "type": "tap", )"
      R"("mtu": 1450, "ethernet_mac_address": "fa:16:3e:00:00:01"}], "networks": [{"id": "network0", )"
      R"("type": "ipv4", "link": "tapce9153db-08", "ip_address": "10.0.0.7", )"
      R"("netmask": "255.255.255.0", "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", )"
      R"("gateway": "10.0.0.1"}], "network_id": "net", "services": [{"type": "dns", )"
      R"("address": "10.0.0.2"}]}, {"id": "network1", "type": "ipv6_slaac", )"
      R"("link": "tapce9153db-08", "ip_address": "fd00::7", "netmask": "ffff:ffff:ffff:ffff::", )"
      R"("routes": [{"network": "::", "netmask": "::", "gateway": "fd00::1"}, {"network": "fd01::", )"
      R"("netmask": "ffff:ffff:ffff:ffff::", "gateway": "fd00::9"}], "network_id": "net", )"
      R"("services": []}], "services": [{"type": "dns", "address": "10.0.0.2"}]})");

  // A DHCP port makes the short form, and hides the MTU.
  Port dhcp = sample_port("dhcp", "dhcp-agent", "10.0.0.2");
  dhcp.device_owner = "network:dhcp";
  add_port(inventory, dhcp);
  const auto data = data_of(derive());
  EXPECT_EQ(data["networks"][0]["type"], "ipv4_dhcp");
  EXPECT_TRUE(data["links"][0]["mtu"].is_null());
}

TEST(NetworkModel, KeepsTheOrderInWhichPortsWereAttached) {
  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  for (const auto& [id, place] : {std::pair("aaa", 3), {"bbb", 1}, {"zzz", 2}}) {
    Port port = sample_port(id, kUuid, "10.0.0." + std::to_string(place));
    port.attached = place;
    add_port(inventory, port);
  }
  const InventoryIndex index(std::make_shared<const Inventory>(inventory));
  const auto model = network_model_from_ports(index, kUuid);
  ASSERT_EQ(model.size(), 3U);
  EXPECT_EQ(model[0].id + model[1].id + model[2].id, "bbbzzzaaa");
  EXPECT_EQ(first_ipv4(model), "10.0.0.1");
}

/// A guest that looks for an interface with that MAC waits for it, or does not boot.
TEST(NetworkModel, HasNoLinkForATrunksSubport) {
  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  add_port(inventory, sample_port("parent", kUuid, "10.0.0.7"));
  Port tagged = sample_port("tagged", kUuid, "10.0.0.8");
  tagged.device = "tapparent";
  tagged.vlan = 101;
  add_port(inventory, tagged);
  Port nested = sample_port("nested", "nested-guest", "10.0.0.9");
  nested.vlan = 102;
  add_port(inventory, nested);
  const InventoryIndex index(std::make_shared<const Inventory>(inventory));
  const auto model = network_model_from_ports(index, kUuid);
  ASSERT_EQ(model.size(), 1U);
  EXPECT_EQ(model[0].id, "parent");
  EXPECT_EQ(network_model_from_ports(index, "nested-guest").size(), 1U)
      << "a guest behind a tag has its interface there";
}

// --- injection

Vif injected_vif() {
  Vif vif = sample_vif();
  vif.injected = true;
  vif.subnets[0].routes.clear();
  vif.subnets[1].routes.clear();
  return vif;
}

constexpr const char* kHead =
    "# Injected by Nova on instance boot\n#\n"
    "# This file describes the network interfaces available on your system\n"
    "# and how to activate them. For more information, see interfaces(5).\n\n"
    "# The loopback network interface\nauto lo\niface lo inet loopback\n";

TEST(Injection, OnlyWhereTheNetworkSaysSoAndThereIsNoDhcp) {
  EXPECT_EQ(injected_interfaces({sample_vif()}), std::nullopt);
  Vif vif = injected_vif();
  vif.subnets[1].dhcp_server = "1234:567::3";
  EXPECT_EQ(injected_interfaces({vif}), std::nullopt);
  EXPECT_EQ(injected_interfaces({}), std::nullopt);
  vif.subnets.clear();
  EXPECT_EQ(injected_interfaces({vif}), std::nullopt);
}

TEST(Injection, BothFamiliesAndTwoNics) {
  Vif second = injected_vif();
  second.address = "bb:bb:bb:bb:bb:bb";
  second.subnets.pop_back();
  second.subnets[0].gateway.reset();
  second.subnets[0].dns.clear();
  EXPECT_EQ(injected_interfaces({injected_vif(), second}),
            std::string(kHead) +
                "\nauto eth0\niface eth0 inet static\n"
                "    hwaddress ether aa:aa:aa:aa:aa:aa\n    address 10.10.0.2\n"
                "    netmask 255.255.255.0\n    broadcast 10.10.0.255\n    gateway 10.10.0.1\n"
                "    dns-nameservers 1.2.3.4 2.3.4.5\n"
                "iface eth0 inet6 static\n    hwaddress ether aa:aa:aa:aa:aa:aa\n"
                "    address 1234:567::2\n    netmask 48\n    gateway 1234:567::1\n"
                "    dns-nameservers 2001:4860:4860::8888\n"
                "\nauto eth1\niface eth1 inet static\n"
                "    hwaddress ether bb:bb:bb:bb:bb:bb\n    address 10.10.0.2\n"
                "    netmask 255.255.255.0\n    broadcast 10.10.0.255\n");
}

TEST(Injection, TwoAddressesOrOneHaveNoneForAllOfThem) {
  Vif vif = injected_vif();
  vif.subnets.pop_back();
  const auto broadcast = [&](const char* cidr) {
    vif.subnets[0].cidr = cidr;
    const auto text = injected_interfaces({vif}).value_or("");
    const auto at = text.find("broadcast ") + 10;
    return text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_EQ(broadcast("10.10.0.0/30"), "10.10.0.3");
  EXPECT_EQ(broadcast("10.10.0.2/31"), "None");  // as netaddr says it, and so Nova
  EXPECT_EQ(broadcast("10.10.0.2/32"), "None");
}

TEST(Injection, AnInterfaceWithoutAMacHasNone) {
  Vif vif = injected_vif();
  vif.address.reset();
  const auto text = injected_interfaces({vif}).value_or("");
  EXPECT_THAT(text, testing::HasSubstr("iface eth0 inet static\n    address 10.10.0.2\n"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("None")));
}

TEST(NetworkModel, IsCompletedFromTheInstancesPorts) {
  Instance i = sample_instance();
  i.network_info = R"([{"id": "p1", "network": {"subnets": [
      {"cidr": "fd00::/64", "ips": [{"address": "fd00::5"}]}]}},
      {"id": "p2", "network": {"subnets": []}}])";
  Inventory inventory = inventory_of({i});
  add_network(inventory);
  add_port(inventory, sample_port("p1", kUuid, "10.0.0.5"));
  Port others = sample_port("p2", "another", "10.0.0.6");
  others.mac_address = "fa:16:3e:00:00:02";
  add_port(inventory, others);
  const auto json = body_of(*stage_of(inventory), "/openstack/latest/network_data.json");
  EXPECT_THAT(json, testing::HasSubstr(R"("ethernet_mac_address": "fa:16:3e:00:00:01")"));
  EXPECT_THAT(json, testing::HasSubstr(R"("network_id": "net")"));
  EXPECT_THAT(json, testing::HasSubstr(R"("type": "ipv6")"));  // by its cidr
  EXPECT_THAT(json, testing::Not(testing::HasSubstr("fa:16:3e:00:00:02")));
}

TEST(NetworkModel, OfAnAddressThatIsLearnedIsByDhcp) {
  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  Port port = sample_port("p1", kUuid, "10.0.0.5");
  port.fixed_ips.clear();
  port.address_policy = AddressPolicy::learn;
  add_port(inventory, port);
  auto stage = stage_of(inventory);
  const auto json = body_of(*stage, "/openstack/latest/network_data.json");
  EXPECT_THAT(json, testing::HasSubstr(R"("type": "ipv4_dhcp")"));
  EXPECT_THAT(json, testing::HasSubstr(R"("ethernet_mac_address": "fa:16:3e:00:00:01")"));
}

TEST(NetworkModel, OfAMacThatIsNotKnownSaysNothing) {
  Inventory inventory = inventory_of({sample_instance()});
  add_network(inventory);
  Port port = sample_port("p1", kUuid, "10.0.0.5");
  port.mac_address.clear();
  add_port(inventory, port);
  const auto stage = stage_of(inventory);
  EXPECT_EQ(status_of(*stage, "/openstack/latest/network_data.json"), 404U);
  EXPECT_THAT(body_of(*stage, "/openstack/latest/"),
              testing::Not(testing::HasSubstr("network_data.json")));
}

TEST(VendorData, OfOneInstanceStandsBesideTheOperators) {
  Instance i = sample_instance();
  i.vendor_data = "#cloud-config\n";
  const auto stage = stage_of(inventory_of({i}));
  EXPECT_EQ(body_of(*stage, "/openstack/latest/vendor_data.json"),
            R"({"cloud-init": "#cloud-config\n"})");
}

TEST(Keys, OfAnInstanceAreAllTold) {
  Instance i = sample_instance();
  i.keypairs.push_back({"second", "ssh", "ssh-rsa B"});
  const auto json = nlohmann::ordered_json::parse(
      body_of(*stage_of(inventory_of({i})), "/openstack/latest/meta_data.json"));
  EXPECT_EQ(json["public_keys"]["second"], "ssh-rsa B");
  EXPECT_EQ(json["keys"].size(), 2U);
}

TEST(Injection, ShowsInMetadataAndContent) {
  Instance i = sample_instance();
  i.network_info =
      R"([{"id": "v", "address": "aa:aa:aa:aa:aa:aa", "network": {"id": "n", "subnets": [
          {"cidr": "10.0.0.0/24", "version": 4, "gateway": {"address": "10.0.0.1"}, "dns": [],
           "ips": [{"address": "10.0.0.5"}], "routes": [], "meta": {}}],
          "meta": {"injected": true}}}])";
  const auto stage = stage_of(inventory_of({i}));
  const auto json =
      nlohmann::ordered_json::parse(body_of(*stage, "/openstack/latest/meta_data.json"));
  EXPECT_EQ(json["network_config"].dump(),
            R"({"name":"network_config","content_path":"/content/0000"})");
  EXPECT_THAT(body_of(*stage, "/openstack/content/0000"), testing::HasSubstr("address 10.0.0.5\n"));
  EXPECT_EQ(status_of(*stage, "/openstack/content"), 404U);
  EXPECT_EQ(status_of(*stage, "/openstack/content/0001"), 404U);
  EXPECT_EQ(status_of(*stage, "/openstack/content/0000/x"), 404U);
}

}  // namespace
}  // namespace metatap::api
