// SPDX-License-Identifier: Apache-2.0
#include "importer/compose.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inventory/document.hpp"

namespace metatap::importer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

Json port(const std::string& id, const std::string& mac, const std::string& device) {
  return Json{{"id", id},
              {"network_id", "n"},
              {"mac_address", mac},
              {"device_id", device},
              {"fixed_ips", Json::array()}};
}

Tables sample() {
  Tables tables;
  tables.networks["n"] = Json{{"id", "n"}};
  tables.subnets["s"] = Json{{"id", "s"}, {"network_id", "n"}, {"cidr", "10.0.0.0/24"}};
  tables.ports["a"] = port("a", "fa:16:3e:00:00:0a", "vm");
  tables.ports["b"] = port("b", "fa:16:3e:00:00:0b", "vm");
  tables.ports["c"] = port("c", "fa:16:3e:00:00:0c", "vm");
  tables.servers["vm"] =
      Json{{"id", "vm"}, {"name", "vm"}, {"addresses", {"fa:16:3e:00:00:0b", "fa:16:3e:00:00:0a"}}};
  return tables;
}

std::vector<std::string> ports_in(const Composed& composed) {
  std::vector<std::string> ids;
  const auto document = Json::parse(composed.text);
  for (const auto& each : document["ports"]) {
    ids.push_back(each["id"]);
  }
  return ids;
}

TEST(Compose, PutsAServersPortsInTheOrderInWhichNovaHasThem) {
  const auto composed = compose(sample());
  EXPECT_THAT(ports_in(composed), ElementsAre("b", "a", "c"))
      << "one that Nova has not yet is last";
  const auto inventory = parse_document(composed.text);
  ASSERT_TRUE(inventory) << inventory.error().message;
  EXPECT_EQ(inventory->ports.at("b")->attached, 1);
  EXPECT_EQ(composed.counts.ports, 3U);
  EXPECT_EQ(composed.counts.left_out, 0U);
}

TEST(Compose, LeavesOutWhatRefersToNothing) {
  auto tables = sample();
  tables.ports["a"]["fixed_ips"] =
      Json::array({Json{{"subnet_id", "x"}, {"ip_address", "10.0.0.1"}}});
  tables.ports["b"]["network_id"] = "x";
  tables.subnets["t"] = Json{{"id", "t"}, {"network_id", "x"}, {"cidr", "10.0.1.0/24"}};
  const auto composed = compose(tables);
  EXPECT_THAT(ports_in(composed), ElementsAre("c"));
  EXPECT_EQ(composed.counts.subnets, 1U);
  EXPECT_EQ(composed.counts.left_out, 3U);
  EXPECT_TRUE(parse_document(composed.text));
}

TEST(Compose, GivesATrunksPortsTheParentsDevice) {
  auto tables = sample();
  const auto sub = [](const char* id, const char* type) {
    return Json{{"port_id", id}, {"segmentation_type", type}, {"segmentation_id", 7}};
  };
  tables.ports["a"]["trunk_details"] =
      Json{{"sub_ports", {sub("b", "vlan"), sub("c", "inherit"), sub("gone", "vlan")}}};
  tables.ports["b"]["device_id"] = "";
  const auto inventory = parse_document(compose(tables).text);
  ASSERT_TRUE(inventory) << inventory.error().message;
  EXPECT_EQ(inventory->ports.at("b")->device, "tapa");
  EXPECT_EQ(inventory->ports.at("b")->vlan, 7);
  EXPECT_EQ(inventory->ports.at("b")->device_id, "vm");
  EXPECT_FALSE(inventory->ports.at("c")->device);
}

TEST(KnownKeys, AreWhatTheInventoryTakes) {
  KnownKeys keys;
  Json object{{"id", "p"},
              {"status", "ACTIVE"},
              {"trunk_details", Json::object()},
              {"binding:new", 1},
              {"project_id", nullptr},
              {"fixed_ips", {Json{{"ip_address", "10.0.0.1"}, {"new", 1}}}}};
  keys.reduce("ports", object, {"trunk_details"});
  EXPECT_EQ(object.dump(),
            R"({"id":"p","trunk_details":{},"fixed_ips":[{"ip_address":"10.0.0.1"}]})");
  EXPECT_THAT(keys.unknown(),
              ElementsAre(Pair("ports/binding:new", 1U), Pair("ports/fixed_ips/new", 1U)));
  keys.forget();
  Json server{{"id", "s"}, {"metadata", {{"z", "1"}, {"a", "2"}}}, {"flavor", {{"vcpus", 1}}}};
  const auto before = server;
  keys.reduce("servers", server);
  EXPECT_EQ(server, before);
  EXPECT_THAT(keys.unknown(), IsEmpty());
  Json none = 5;
  keys.reduce("ports", none);
  EXPECT_EQ(none, 5);
}

}  // namespace
}  // namespace metatap::importer
