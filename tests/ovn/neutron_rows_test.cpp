// SPDX-License-Identifier: Apache-2.0
// Rows as Neutron's ML2/OVN driver, ovn-northd and ovn-controller write them, through the ordinary
// and the less ordinary days of a port.
#include <gmock/gmock.h>

#include <fstream>

#include "ovn/ovn_fixture.hpp"

namespace metatap::agent {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;
using Reason = OvnSkipped::Reason;
using Standing = OvnFeed::Standing;

const json kNowhere = set_of(json::array());

TEST_F(Ovn, AnAddressPairThatSortsFirstDoesNotNameTheMac) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  // VRRP's MAC sorts before Neutron's, and the database keeps a set sorted.
  auto row = neutron_row("a", network, {"00:00:5e:00:01:01", "fa:16:3e:00:00:05 10.0.0.5 fd00::5"},
                         {"00:00:5e:00:01:01 10.0.0.100",
                          "fa:16:3e:00:00:05 10.0.0.5 fd00::5 "
                          "10.1.0.0/16"},
                         "10.0.0.5/24 fd00::5/64", "vm");
  row["chassis"] = known(chassis);
  ASSERT_TRUE(insert_port(row));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  ASSERT_NE(here.port("a"), nullptr) << "left out";
  EXPECT_EQ(here.port("a")->mac_address, "fa:16:3e:00:00:05");
  EXPECT_EQ(here.instance("net-1", "10.0.0.5"), "vm");
  EXPECT_EQ(here.instance("net-1", "fd00::5"), "vm");
  EXPECT_EQ(here.instance("net-1", "10.0.0.100"), "") << "a pair is no address of the port";
  EXPECT_THAT(here.port("a")->allowed_address_pairs,
              UnorderedElementsAre(AddressPair{"10.0.0.100", "00:00:5e:00:01:01"},
                                   AddressPair{"10.1.0.0/16", "fa:16:3e:00:00:05"}));
  EXPECT_EQ(here.port("a")->mac_policy, MacPolicy::own);
  EXPECT_EQ(here.feed->facts("a")->name, "name of a");
}

TEST_F(Ovn, WithoutPortSecurityAndDhcpTheInterfaceKnowsTheMac) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  auto row = neutron_row("a", network, {"unknown"}, json::array(), "10.0.0.7/24", "vm");
  row["chassis"] = known(chassis);
  ASSERT_TRUE(insert_port(row));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  EXPECT_EQ(here.port("a"), nullptr);
  EXPECT_EQ(here.feed->health().skipped.at("a").reason, Reason::mac);
  here.plug("tapa", "a", 7, "fa:16:3e:00:00:07");
  ASSERT_TRUE(until([&] { return here.instance("net-1", "10.0.0.7") == "vm"; }));
  EXPECT_EQ(here.port("a")->mac_address, "fa:16:3e:00:00:07");
  EXPECT_EQ(here.port("a")->mac_policy, MacPolicy::any);
  EXPECT_TRUE(here.feed->health().skipped.empty());
}

TEST_F(Ovn, WhatIsPluggedInKeepsItsAnswerWhileOvnControllerRestarts) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  auto row = neutron_row("a", network, {"fa:16:3e:00:00:01 10.0.0.1"},
                         {"fa:16:3e:00:00:01 10.0.0.1"}, "10.0.0.1/24", "vm");
  row["chassis"] = known(chassis);
  ASSERT_TRUE(insert_port(row));
  auto subport = neutron_row("sub", network, {"fa:16:3e:00:00:02 10.0.0.2"},
                             {"fa:16:3e:00:00:02 10.0.0.2"}, "10.0.0.2/24", "");
  subport["chassis"] = known(chassis);
  subport["parent_port"] = "a";
  subport["tag"] = 101;
  ASSERT_TRUE(insert_port(subport));
  const auto bridge = here.plug("tapa", "a", 7, "fa:16:3e:00:00:01");
  here.follow(remotes);
  ASSERT_TRUE(settled());
  int lost = 0;
  here.feed->subscribe([&](const InventoryChange& change) {
    lost += change.after->ports.contains("a") && change.after->ports.contains("sub") ? 0 : 1;
  });

  // It lets go of its ports, and takes them again.
  ASSERT_TRUE(update_port("a", {{"chassis", kNowhere}}));
  ASSERT_TRUE(update_port("sub", {{"chassis", kNowhere}}));
  ASSERT_TRUE(until([&] { return here.feed->facts("a")->standing == Standing::unbound; }));
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm");
  EXPECT_EQ(here.instance("net-1", "10.0.0.2"), "vm") << "its subport too";
  ASSERT_TRUE(update_port("a", {{"chassis", known(chassis)}}));
  ASSERT_TRUE(update_port("sub", {{"chassis", known(chassis)}}));

  // It signs the whole chassis off, and registers it anew.
  ASSERT_TRUE(delete_rows("Chassis", "name", "host-1"));
  ASSERT_TRUE(until([&] { return !here.feed->health().registered; }));
  quiet();
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm");
  EXPECT_EQ(here.find("net-1", "10.0.0.77").error().code, ErrorCode::not_found);
  const auto again = add_chassis("host-1");
  ASSERT_NE(again, chassis);
  ASSERT_TRUE(until([&] { return here.feed->health().registered; }));
  ASSERT_TRUE(update_port("a", {{"chassis", known(again)}}));
  ASSERT_TRUE(update_port("sub", {{"chassis", known(again)}}));
  ASSERT_TRUE(until([&] { return here.feed->facts("a")->standing == Standing::bound; }));
  EXPECT_EQ(lost, 0) << "times that a port was not known";

  // Unplugged while nobody binds it, and deleted while it is plugged in.
  ASSERT_TRUE(update_port("a", {{"chassis", kNowhere}}));
  here.unplug(bridge);
  ASSERT_TRUE(until([&] { return here.port("a") == nullptr; }));
  here.plug("tapa", "a", 8, "fa:16:3e:00:00:01");
  ASSERT_TRUE(until([&] { return here.port("a") != nullptr; }));
  ASSERT_TRUE(delete_rows("Port_Binding", "logical_port", "a"));
  ASSERT_TRUE(until([&] { return here.port("a") == nullptr; }));
  EXPECT_EQ(here.feed->health().skipped.at("sub").reason, Reason::parent);
}

TEST_F(Ovn, AStartWhileOvnControllerIsDownServesWhatIsPluggedIn) {
  start_southbound();
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(neutron_row("a", network, {"fa:16:3e:00:00:01 10.0.0.1"},
                                      {"fa:16:3e:00:00:01 10.0.0.1"}, "10.0.0.1/24", "vm")));
  here.plug("tapa", "a", 7, "fa:16:3e:00:00:01");
  here.follow(remotes);
  ASSERT_TRUE(until([&] { return here.instance("net-1", "10.0.0.1") == "vm"; }));
  EXPECT_EQ(here.find("net-1", "10.0.0.2").error().code, ErrorCode::unavailable)
      << "that there is no such port is not known before the chassis is";
}

TEST_F(Ovn, OnlyRowsOfThisHostAreReceived) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto other = add_chassis("host-2");
  const auto network = add_network("net-1");
  const auto elsewhere = add_network("net-2");
  for (int number = 1; number <= 20; ++number) {
    const auto text = std::to_string(number);
    const auto address = "fa:16:3e:00:01:" + std::to_string(10 + number) + " 10.0.1." + text;
    auto row = neutron_row("far-" + text, number % 2 ? network : elsewhere, {address}, {address},
                           "10.0.1." + text + "/24", "far");
    row["chassis"] = known(other);
    ASSERT_TRUE(insert_port(row));
  }
  auto row = neutron_row("near", network, {"fa:16:3e:00:00:01 10.0.0.1"},
                         {"fa:16:3e:00:00:01 10.0.0.1"}, "10.0.0.1/24", "vm");
  row["chassis"] = known(chassis);
  ASSERT_TRUE(insert_port(row));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  quiet();
  EXPECT_EQ(here.feed->health().southbound.rows, 3U) << "the chassis, the port and its network";
  const auto updates = here.feed->health().southbound.updates;
  ASSERT_TRUE(update_port("far-1", {{"mac", "fa:16:3e:00:01:99 10.0.1.1"}}));
  quiet();
  EXPECT_EQ(here.feed->health().southbound.updates, updates) << "told of another host's change";
}

/// OVN before multichassis ports, port_security in the southbound database and Chassis_Private.
std::string older_schema(const testing_support::Directory& files) {
  auto schema = json::parse(std::ifstream(*testing_support::schema("ovn-sb.ovsschema")));
  auto& columns = schema["tables"]["Port_Binding"]["columns"];
  for (const auto* column : {"additional_chassis", "additional_encap", "port_security",
                             "requested_chassis", "requested_additional_chassis"}) {
    columns.erase(column);
  }
  schema["tables"].erase("Chassis_Private");
  schema["version"] = "20.9.0";
  schema.erase("cksum");
  const auto path = files.file("older.ovsschema");
  std::ofstream(path) << schema.dump();
  return path;
}

TEST_F(Ovn, AnOlderSchemaLosesOnlyTheClausesItDoesNotKnow) {
  start_southbound(older_schema(files));
  const auto chassis = add_chassis("host-1");
  const auto other = add_chassis("host-2");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-a")));
  ASSERT_TRUE(insert_port(port_row("b", other, network, "fa:16:3e:00:00:02 10.0.0.2", "vm-b")));
  here.follow(remotes);
  ASSERT_TRUE(settled()) << here.feed->health().southbound.last_error;
  quiet();
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-a");
  EXPECT_EQ(here.instance("net-1", "10.0.0.2"), "");
  EXPECT_EQ(here.feed->health().southbound.rows, 3U) << "the whole cloud's rows were asked for";

  // The upgrade: the same database with today's schema, while questions come in.
  std::atomic<bool> stop{false};
  std::atomic<int> asked{0}, lost{0};
  std::thread load([&] {
    while (!stop) {
      ++asked;
      lost += here.instance("net-1", "10.0.0.1") == "vm-a" ? 0 : 1;
      std::this_thread::sleep_for(50us);
    }
  });
  const auto connections = here.feed->health().southbound.connections;
  EXPECT_TRUE(southbound.convert(testing_support::schema("ovn-sb.ovsschema")->string()));
  EXPECT_TRUE(until([&] { return here.feed->health().southbound.connections > connections; }));
  EXPECT_TRUE(update_port("b", {{"additional_chassis", known(chassis)}}));
  EXPECT_TRUE(until([&] { return here.instance("net-1", "10.0.0.2") == "vm-b"; }));
  stop = true;
  load.join();
  EXPECT_GT(asked, 100);
  EXPECT_EQ(lost, 0);
}

TEST_F(Ovn, DuringALiveMigrationTheHostWithTheGuestAnswers) {
  start_southbound();
  OvnHost there{context, files, "host-2"};
  ASSERT_TRUE(there.start());
  const auto source = add_chassis("host-1");
  const auto target = add_chassis("host-2");
  const auto network = add_network("net-1");
  auto row = neutron_row("a", network, {"fa:16:3e:00:00:01 10.0.0.1"},
                         {"fa:16:3e:00:00:01 10.0.0.1"}, "10.0.0.1/24", "vm");
  row["chassis"] = known(source);
  row["requested_chassis"] = known(source);
  ASSERT_TRUE(insert_port(row));
  const auto old_tap = here.plug("tapa", "a", 7, "fa:16:3e:00:00:01");
  here.follow(remotes);
  there.follow(remotes);
  ASSERT_TRUE(until([&] { return here.feed->ready() && there.feed->ready(); }));
  const auto at_source = [&] { return here.instance("net-1", "10.0.0.1") == "vm"; };
  const auto at_target = [&] { return there.instance("net-1", "10.0.0.1") == "vm"; };
  EXPECT_TRUE(at_source());
  EXPECT_FALSE(at_target());

  // Nova has libvirt plug the device in on the target; nothing is bound there yet.
  there.plug("tapa", "a", 12, "fa:16:3e:00:00:01");
  quiet();
  EXPECT_TRUE(at_source());
  EXPECT_FALSE(at_target());
  // Neutron asks for both hosts, ovn-controller on the target binds it additionally.
  ASSERT_TRUE(update_port("a", {{"requested_additional_chassis", known(target)},
                                {"options", map_of({{"requested-chassis", "host-1,host-2"},
                                                    {"activation-strategy", "rarp"}})}}));
  ASSERT_TRUE(update_port("a", {{"additional_chassis", known(target)}}));
  ASSERT_TRUE(until(at_target)) << "the guest may come up there any moment";
  EXPECT_TRUE(at_source()) << "and it still runs here";
  EXPECT_EQ(there.feed->facts("a")->standing, Standing::additional);
  EXPECT_EQ(there.port("a")->device, "tapa");
  // It runs on the target, and Neutron asks for that alone: the source lets go before it is
  // claimed.
  ASSERT_TRUE(update_port("a", {{"requested_chassis", known(target)},
                                {"requested_additional_chassis", kNowhere},
                                {"options", map_of({{"requested-chassis", "host-2"}})},
                                {"additional_chassis", kNowhere},
                                {"chassis", kNowhere}}));
  ASSERT_TRUE(until([&] { return !at_source(); })) << "its device is still plugged in here";
  quiet();
  EXPECT_TRUE(at_target());
  ASSERT_TRUE(update_port("a", {{"chassis", known(target)}}));
  here.unplug(old_tap);
  quiet();
  EXPECT_FALSE(at_source());
  EXPECT_TRUE(at_target());
  EXPECT_EQ(there.feed->facts("a")->standing, Standing::bound);
}

TEST_F(Ovn, AMigrationThatFailsLeavesTheTarget) {
  start_southbound();
  const auto here_chassis = add_chassis("host-1");
  const auto source = add_chassis("host-2");
  const auto network = add_network("net-1");
  auto row = neutron_row("a", network, {"fa:16:3e:00:00:01 10.0.0.1"},
                         {"fa:16:3e:00:00:01 10.0.0.1"}, "10.0.0.1/24", "vm");
  row["chassis"] = known(source);
  row["additional_chassis"] = known(here_chassis);
  ASSERT_TRUE(insert_port(row));
  here.plug("tapa", "a", 7, "fa:16:3e:00:00:01");
  here.follow(remotes);
  ASSERT_TRUE(settled());
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm");
  ASSERT_TRUE(update_port("a", {{"additional_chassis", kNowhere}}));
  ASSERT_TRUE(until([&] { return here.port("a") == nullptr; }));
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "");
}

TEST_F(Ovn, SubportsVirtualAndExternalPorts) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  const auto add = [&](const std::string& port, const std::string& mac, const std::string& address,
                       const std::string& owner, json more) {
    auto row = neutron_row(port, network, {mac + " " + address}, {mac + " " + address},
                           address + "/24", owner);
    row["chassis"] = known(chassis);
    row.update(more);
    return insert_port(row);
  };
  ASSERT_TRUE(add("parent", "fa:16:3e:00:00:01", "10.0.0.1", "vm", json::object()));
  ASSERT_TRUE(
      add("sub", "fa:16:3e:00:00:02", "10.0.0.2", "", {{"parent_port", "parent"}, {"tag", 101}}));
  ASSERT_TRUE(add("vip", "fa:16:3e:00:00:03", "10.0.0.3", "lb-1",
                  {{"type", "virtual"}, {"virtual_parent", "parent"}}));
  ASSERT_TRUE(add("sriov", "fa:16:3e:00:00:04", "10.0.0.4", "vm-2", {{"type", "external"}}));
  ASSERT_TRUE(
      add("ovnmeta", "fa:16:3e:00:00:05", "10.0.0.5", "ovnmeta-net-1", {{"type", "localport"}}));
  here.plug("tapparent", "parent", 7, "fa:16:3e:00:00:01");
  here.follow(remotes);
  ASSERT_TRUE(settled());
  ASSERT_EQ(here.feed->inventory()->ports.size(), 3U);
  EXPECT_EQ(here.port("sub")->device, "tapparent");
  EXPECT_EQ(here.port("sub")->vlan, 101);
  EXPECT_EQ(here.port("sub")->mac_address, "fa:16:3e:00:00:02");
  EXPECT_EQ(here.find("net-1", "10.0.0.2")->instance_id, "vm") << "its parent's";
  EXPECT_EQ(here.find("net-1", "10.0.0.2")->project_id, "project") << "of that instance";
  EXPECT_EQ(here.instance("net-1", "10.0.0.3"), "");
  EXPECT_EQ(here.instance("net-1", "10.0.0.4"), "vm-2");
  EXPECT_TRUE(here.feed->facts("sriov")->external);
  EXPECT_TRUE(here.feed->health().skipped.empty());
}

class OvnReport : public Ovn {
 protected:
  void add_private(const std::string& chassis) {
    ASSERT_FALSE(transact(remotes, "OVN_Southbound",
                          {{{"op", "insert"},
                            {"table", "Chassis_Private"},
                            {"row",
                             {{"name", kName},
                              {"chassis", known(chassis)},
                              {"external_ids", map_of({{"someone's", "else"}})}}}}})
                     .empty());
  }
  /// Neutron raises nb_cfg, northd copies it.
  void ask_who_is_alive(int number) {
    json operation{{"op", "insert"}, {"table", "SB_Global"}, {"row", {{"nb_cfg", number}}}};
    if (number > 1) {
      operation["op"] = "update";
      operation["where"] = json::array();
    }
    ASSERT_FALSE(transact(remotes, "OVN_Southbound", json::array({operation})).empty());
  }
  [[nodiscard]] std::string shown(const std::string& key) const {
    const auto rows = transact(remotes, "OVN_Southbound",
                               {{{"op", "select"},
                                 {"table", "Chassis_Private"},
                                 {"where", json::array({json::array({"name", "==", kName})})}}});
    for (const auto& row : rows.at(0)["rows"]) {
      return ovsdb_entry({{"external_ids", row["external_ids"]}}, "external_ids", key)
          .value_or("absent");
    }
    return "no row";
  }
  bool eventually(const std::string& key, const std::string& value) {
    return until([&] { return shown(key) == value; });
  }
  static constexpr auto kName = "host-1";
  static constexpr auto kId = "neutron:ovn-metadata-id";
  static constexpr auto kNumber = "neutron:ovn-metadata-sb-cfg";
};

TEST_F(OvnReport, NeutronSeesTheAgentAlive) {
  start_southbound();
  ask_who_is_alive(1);
  add_private(add_chassis("host-1"));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  quiet();
  EXPECT_EQ(shown(kId), "absent") << "said before guests are served";
  here.feed->report();
  // uuid5(uuid5(Neutron's namespace, "host-1"), "metadata_agent"), by Python's uuid.
  ASSERT_TRUE(eventually(kId, "dddb9eaa-ad62-5189-a7e1-426ef2b15c19")) << shown(kId);
  EXPECT_EQ(shown(kNumber), "1");
  EXPECT_EQ(shown("neutron:ovn-bridge"), "br-int");
  EXPECT_EQ(shown("someone's"), "else");
  for (int number = 2; number < 5; ++number) {
    ask_who_is_alive(number);
    ASSERT_TRUE(eventually(kNumber, std::to_string(number)));
  }
  EXPECT_EQ(here.feed->health().report.last_error, "");
  ASSERT_TRUE(until([&] { return here.feed->health().report.shown == 4; }));

  // ovn-controller makes the row anew.
  ASSERT_TRUE(delete_rows("Chassis_Private", "name", "host-1"));
  ASSERT_TRUE(delete_rows("Chassis", "name", "host-1"));
  add_private(add_chassis("host-1"));
  ASSERT_TRUE(eventually(kNumber, "4"));
  EXPECT_EQ(shown(kId), "dddb9eaa-ad62-5189-a7e1-426ef2b15c19");

  // The database goes and comes back.
  southbound.kill(SIGKILL);
  ASSERT_TRUE(until([&] { return !here.feed->health().southbound.connected; }));
  ASSERT_TRUE(southbound.start());
  ask_who_is_alive(5);
  ASSERT_TRUE(eventually(kNumber, "5"));
}

TEST_F(OvnReport, AnIdThatIsThereStays) {
  start_southbound();
  ask_who_is_alive(1);
  add_private(add_chassis("host-1"));
  transact(remotes, "OVN_Southbound",
           {{{"op", "update"},
             {"table", "Chassis_Private"},
             {"where", json::array()},
             {"row", {{"external_ids", map_of({{kId, "the old agent's"}})}}}}});
  here.follow(remotes);
  ASSERT_TRUE(settled());
  here.feed->report();
  ASSERT_TRUE(eventually(kNumber, "1"));
  EXPECT_EQ(shown(kId), "the old agent's");
  EXPECT_EQ(here.feed->health().report.agent_id, "the old agent's");
}

TEST_F(OvnReport, NothingIsWrittenWhenNotAskedFor) {
  start_southbound();
  ask_who_is_alive(1);
  add_private(add_chassis("host-1"));
  auto options = OvnOptions::from(Config::parse("[ovs]\novsdb_connection = " + here.local.remote() +
                                                "\n[ovn]\novn_sb_connection = " + remotes +
                                                "\n[agent]\nreport_to_neutron = false\n")
                                      .value())
                     .value();
  here.follow(std::move(options));
  ASSERT_TRUE(settled());
  here.feed->report();
  quiet();
  EXPECT_EQ(shown(kNumber), "absent");
  EXPECT_EQ(here.feed->health().southbound.rows, 1U) << "rows nobody needs were asked for";
}

}  // namespace
}  // namespace metatap::agent
