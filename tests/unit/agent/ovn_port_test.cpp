// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_port.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/ovn_heartbeat.hpp"
#include "agent/ovn_options.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Reason = OvnSkipped::Reason;

json set_of(const json& elements) {
  return json::array({"set", elements});
}

/// A Port_Binding row; `ids` without "neutron:" in front.
OvsdbRow row_of(const json& mac, const std::map<std::string, std::string>& ids) {
  json pairs = json::array();
  for (const auto& [key, value] : ids) {
    pairs.push_back(json::array({"neutron:" + key, value}));
  }
  return {{"logical_port", "port"}, {"mac", mac}, {"external_ids", json::array({"map", pairs})}};
}

const OvsdbRow kDatapath{
    {"external_ids", json::parse(R"(["map",[["name","neutron-net"],["name2","x"]]])")}};

std::vector<std::string> addresses(const Port& port) {
  std::vector<std::string> all;
  for (const auto& fixed : port.fixed_ips) {
    all.push_back(fixed.ip_address);
  }
  return all;
}

Reason reason(const OvsdbRow& row, const OvnTap* tap = nullptr) {
  const auto port = ovn_port({.binding = row, .datapath = kDatapath, .tap = tap});
  EXPECT_FALSE(port);
  return port ? Reason::name : port.error().reason;
}

TEST(OvnPort, WhateverOrderTheMacsHave) {
  const auto* const own = "fa:16:3e:00:00:05 10.0.0.5 fd00::5";
  for (const auto& macs :
       {json{"00:00:5e:00:01:01", own, "unknown"}, json{own, "00:00:5e:00:01:01"},
        json{"00:00:5e:00:01:01 10.0.0.100", "02:00:00:00:00:01", own}}) {
    const auto row =
        row_of(set_of(macs), {{"device_id", "vm"}, {"cidrs", "10.0.0.5/24 fd00::5/64"}});
    const auto port = ovn_port({.binding = row, .datapath = kDatapath});
    ASSERT_TRUE(port) << port.error().text;
    EXPECT_EQ(port->mac_address, "fa:16:3e:00:00:05") << macs;
    EXPECT_THAT(addresses(*port), ElementsAre("10.0.0.5", "fd00::5"));
    EXPECT_EQ(port->network_id, "net");
  }
}

TEST(OvnPort, AddressesThatMacDoesNotNameAreItsOwnToo) {
  // Neutron adds a subnet to the port; ovn-northd has not copied the addresses yet.
  const auto row = row_of("fa:16:3e:00:00:05 10.0.0.5",
                          {{"device_id", "vm"}, {"cidrs", "10.0.0.5/24 10.9.0.5/24"}});
  const auto port = ovn_port({.binding = row, .datapath = kDatapath});
  ASSERT_TRUE(port);
  EXPECT_THAT(addresses(*port), ElementsAre("10.0.0.5", "10.9.0.5"));
}

TEST(OvnPort, ThePluggedMacStandsInForOneThatIsNotTold) {
  const OvnTap tap{
      .port = "port", .name = "tap0", .guest_mac = "FA:16:3E:00:00:07", .present = true};
  for (const auto& mac : {json("unknown"), set_of(json::array()),
                          set_of({"00:00:5e:00:01:01", "00:00:5e:00:01:02"})}) {
    const auto row = row_of(mac, {{"device_id", "vm"}, {"cidrs", "10.0.0.7/24"}});
    const auto port = ovn_port({.binding = row, .datapath = kDatapath, .tap = &tap});
    ASSERT_TRUE(port) << mac;
    EXPECT_EQ(port->mac_address, "fa:16:3e:00:00:07");
    EXPECT_THAT(addresses(*port), ElementsAre("10.0.0.7"));
    EXPECT_EQ(port->device, "tap0");
    EXPECT_EQ(reason(row), Reason::mac) << "guessed without the Interface";
  }
  const auto without_addresses = row_of("fa:16:3e:00:00:08", {{"device_id", "vm"}, {"cidrs", ""}});
  const auto port = ovn_port({.binding = without_addresses, .datapath = kDatapath});
  ASSERT_TRUE(port);
  EXPECT_EQ(port->mac_address, "fa:16:3e:00:00:08");
  EXPECT_THAT(port->fixed_ips, IsEmpty());
}

TEST(OvnPort, WithoutCidrsTheFirstElementWithAddressesCounts) {
  const auto row =
      row_of(set_of({"00:00:5e:00:01:01", "fa:16:3e:00:00:05 10.0.0.5"}), {{"device_id", "vm"}});
  const auto port = ovn_port({.binding = row, .datapath = kDatapath});
  ASSERT_TRUE(port);
  EXPECT_EQ(port->mac_address, "fa:16:3e:00:00:05");
  EXPECT_THAT(addresses(*port), ElementsAre("10.0.0.5"));
}

TEST(OvnPort, PairsAreWhatPortSecurityAllows) {
  auto row = row_of(set_of({"fa:16:3e:00:00:05 10.0.0.5", "02:00:00:00:00:01"}),
                    {{"device_id", "vm"}, {"cidrs", "10.0.0.5/24"}});
  row["port_security"] = set_of(
      {"02:00:00:00:00:01 10.0.0.9 rubbish", "fa:16:3e:00:00:05 10.0.0.5 10.1.0.0/16 10.0.0.6"});
  const auto port = ovn_port({.binding = row, .datapath = kDatapath});
  ASSERT_TRUE(port);
  EXPECT_THAT(port->allowed_address_pairs,
              ElementsAre(AddressPair{"10.0.0.9", "02:00:00:00:00:01"},
                          AddressPair{"10.1.0.0/16", "fa:16:3e:00:00:05"},
                          AddressPair{"10.0.0.6", "fa:16:3e:00:00:05"}));
  EXPECT_EQ(port->mac_policy, MacPolicy::own);
}

TEST(OvnPort, SaysWhatARowLacks) {
  EXPECT_EQ(reason(row_of("fa:16:3e:00:00:05 10.0.0.5", {})), Reason::owner);
  EXPECT_EQ(reason(row_of("router", {{"device_id", "vm"}, {"cidrs", "10.0.0.1/24"}})), Reason::mac);
  auto nameless = row_of("fa:16:3e:00:00:05 10.0.0.5", {{"device_id", "vm"}});
  nameless.erase("logical_port");
  EXPECT_EQ(reason(nameless), Reason::name);
  auto subport = row_of("fa:16:3e:00:00:05 10.0.0.5", {{"device_id", "vm"}});
  subport["parent_port"] = "parent";
  EXPECT_EQ(reason(subport), Reason::tag);
  subport["tag"] = 4095;
  EXPECT_EQ(reason(subport), Reason::tag);
  subport["tag"] = 5;
  EXPECT_EQ(reason(subport), Reason::parent);
  const auto row = row_of("fa:16:3e:00:00:05 10.0.0.5", {{"device_id", "vm"}});
  const auto lost = ovn_port({.binding = row, .datapath = {}});
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().reason, Reason::network);
  EXPECT_EQ(name_of(lost.error().reason), "no_network");
}

OvsdbRow interface(const std::map<std::string, std::string>& ids, int ifindex = 5) {
  json pairs = json::array();
  for (const auto& [key, value] : ids) {
    pairs.push_back(json::array({key, value}));
  }
  return {{"name", "tap1"}, {"ifindex", ifindex}, {"external_ids", json::array({"map", pairs})}};
}

TEST(OvnTap, IsOfTheInstanceThatNovaOrLibvirtNames) {
  const auto tap = ovn_tap(
      interface({{"iface-id", "port"}, {"attached-mac", "fa:16:3e:00:00:05"}, {"vm-uuid", "vm"}}));
  ASSERT_TRUE(tap);
  EXPECT_EQ(tap->port, "port");
  EXPECT_EQ(tap->name, "tap1");
  EXPECT_EQ(tap->guest_mac, "fa:16:3e:00:00:05");
  EXPECT_EQ(tap->instance, "vm");
  EXPECT_TRUE(tap->present);
  EXPECT_EQ(ovn_tap(interface({{"iface-id", "port"}, {"vm-id", "vm"}}))->instance, "vm");
  EXPECT_EQ(ovn_tap(interface({{"iface-id", "p"}, {"vm-id", "a"}, {"vm-uuid", "a"}}))->instance,
            "a");
  EXPECT_EQ(ovn_tap(interface({{"iface-id", "p"}, {"vm-id", "a"}, {"vm-uuid", "b"}}))->instance,
            "");
  EXPECT_FALSE(ovn_tap(interface({{"iface-id", "port"}}, 0))->present);
  EXPECT_FALSE(ovn_tap(interface({{"attached-mac", "fa:16:3e:00:00:05"}})));
}

TEST(OvnAgentId, IsNeutrons) {
  // By Python's uuid: uuid5(UUID(name), "metadata_agent"), or of the name's own uuid5.
  EXPECT_EQ(ovn_agent_id("9f1a3b52-6c8e-4a0e-9d51-0d3e9be1c0aa"),
            "60ed41eb-b55f-5936-a37a-fcc6f5d1ee19");
  EXPECT_EQ(ovn_agent_id("host-1"), "dddb9eaa-ad62-5189-a7e1-426ef2b15c19");
}

/// All that neutron_ovn_metadata_agent.ini of a deployment sets.
TEST(OvnOptions, AreReadFromNeutronsFileAsItIs) {
  const auto config = Config::parse(R"([DEFAULT]
debug = False
state_path = /var/lib/neutron
agent_down_time = 30
nova_metadata_host = 192.0.2.10
nova_metadata_port = 8775
metadata_proxy_shared_secret = secret
metadata_workers = 2
[agent]
root_helper = sudo neutron-rootwrap /etc/neutron/rootwrap.conf
report_interval = 30
[ovs]
ovsdb_connection = unix:/run/openvswitch/db.sock
ovsdb_connection_timeout = 180
[ovn]
ovn_sb_connection = ssl:192.0.2.11:6642,ssl:192.0.2.12:6642, ssl:192.0.2.13:6642
ovn_sb_private_key = /etc/neutron/key.pem
ovn_sb_certificate = /etc/neutron/cert.pem
ovn_sb_ca_cert = /etc/neutron/ca.pem
ovsdb_connection_timeout = 180
ovsdb_probe_interval = 0
ovsdb_retry_max_interval = 180
ovn_metadata_enabled = True
)")
                          .value();
  const auto options = OvnOptions::from(config);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_THAT(options->local.remotes, ElementsAre("unix:/run/openvswitch/db.sock"));
  EXPECT_THAT(options->southbound.remotes,
              ElementsAre("ssl:192.0.2.11:6642", "ssl:192.0.2.12:6642", "ssl:192.0.2.13:6642"));
  EXPECT_EQ(options->southbound.probe.count(), 0) << "0 asks for none";
  EXPECT_EQ(options->southbound.longest_back_off, std::chrono::seconds(180));
  EXPECT_EQ(options->report_within, std::chrono::seconds(10));
  EXPECT_TRUE(options->report);
  const auto short_probe =
      OvnOptions::from(Config::parse("[ovn]\novsdb_probe_interval = 5\n").value());
  EXPECT_EQ(short_probe->local.probe, std::chrono::seconds(1)) << "as Neutron rounds it up";
}

}  // namespace
}  // namespace metatap::agent
