// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "agent/ovn_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "ovn/ovsdb_servers.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;
using testing::Key;
using testing::Pair;
using testing_support::OvsdbServer;
using testing_support::transact;
using namespace std::chrono_literals;

json map_of(const std::map<std::string, std::string>& pairs) {
  json all = json::array();
  for (const auto& [key, value] : pairs) {
    all.push_back(json::array({key, value}));
  }
  return json::array({"map", all});
}

json named(const std::string& name) {
  return json::array({"named-uuid", name});
}
json known(const std::string& uuid) {
  return json::array({"uuid", uuid});
}
json set_of(const json& elements) {
  return json::array({"set", elements});
}

class Ovn : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = testing_support::missing(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    ASSERT_TRUE(local.create("vswitch.ovsschema"));
    ASSERT_TRUE(local.start());
    ASSERT_FALSE(transact(local.remote(), "Open_vSwitch",
                          {{{"op", "insert"},
                            {"table", "Open_vSwitch"},
                            {"row", {{"external_ids", map_of({{"system-id", "host-1"}})}}}}})
                     .empty());
  }

  void start_southbound() {
    ASSERT_TRUE(southbound.create("ovn-sb.ovsschema"));
    ASSERT_TRUE(southbound.start());
    remotes = southbound.remote();
  }

  std::string add_chassis(const std::string& name) {
    const auto result =
        transact(remotes, "OVN_Southbound",
                 {{{"op", "insert"},
                   {"table", "Encap"},
                   {"uuid-name", "e"},
                   {"row",
                    {{"type", "geneve"},
                     {"ip", "192.0.2." + std::to_string(++keys)},
                     {"chassis_name", name}}}},
                  {{"op", "insert"},
                   {"table", "Chassis"},
                   {"row", {{"name", name}, {"hostname", name}, {"encaps", named("e")}}}}});
    return result.size() == 2 ? result[1]["uuid"][1].get<std::string>() : "";
  }

  std::string add_network(const std::string& id) {
    const auto result = transact(
        remotes, "OVN_Southbound",
        {{{"op", "insert"},
          {"table", "Datapath_Binding"},
          {"row",
           {{"tunnel_key", ++keys}, {"external_ids", map_of({{"name", "neutron-" + id}})}}}}});
    return result.size() == 1 ? result[0]["uuid"][1].get<std::string>() : "";
  }

  json port_row(const std::string& port, const std::string& chassis, const std::string& datapath,
                const std::string& mac, const std::string& instance) {
    return {{"logical_port", port},
            {"datapath", known(datapath)},
            {"chassis", known(chassis)},
            {"mac", mac},
            {"tunnel_key", ++keys},
            {"external_ids",
             map_of({{"neutron:device_id", instance}, {"neutron:project_id", "project"}})}};
  }
  bool insert_port(const json& row) {
    return !transact(remotes, "OVN_Southbound",
                     {{{"op", "insert"}, {"table", "Port_Binding"}, {"row", row}}})
                .empty();
  }
  bool update_port(const std::string& port, const json& row) {
    return !transact(remotes, "OVN_Southbound",
                     {{{"op", "update"},
                       {"table", "Port_Binding"},
                       {"where", json::array({json::array({"logical_port", "==", port})})},
                       {"row", row}}})
                .empty();
  }

  /// As Nova and the vswitch do it together: an interface with the port's id and a device behind.
  std::string add_interface(const std::string& name, const std::string& port, int ifindex) {
    json interface = {{"name", name}, {"external_ids", map_of({{"iface-id", port}})}};
    if (ifindex > 0) {
      interface["ifindex"] = ifindex;
    }
    const auto result = transact(
        local.remote(), "Open_vSwitch",
        {{{"op", "insert"}, {"table", "Interface"}, {"uuid-name", "i"}, {"row", interface}},
         {{"op", "insert"},
          {"table", "Port"},
          {"uuid-name", "p"},
          {"row", {{"name", name}, {"interfaces", named("i")}}}},
         {{"op", "insert"},
          {"table", "Bridge"},
          {"uuid-name", "b"},
          {"row", {{"name", "br-" + name}, {"ports", named("p")}}}},
         {{"op", "mutate"},
          {"table", "Open_vSwitch"},
          {"where", json::array()},
          {"mutations",
           json::array({json::array({"bridges", "insert", set_of(json::array({named("b")}))})})}}});
    return result.empty() ? "" : result[2]["uuid"][1].get<std::string>();
  }
  void remove_bridge(const std::string& uuid) {
    transact(local.remote(), "Open_vSwitch",
             {{{"op", "mutate"},
               {"table", "Open_vSwitch"},
               {"where", json::array()},
               {"mutations", json::array({json::array(
                                 {"bridges", "delete", set_of(json::array({known(uuid)}))})})}}});
  }

  void start_feed(const std::string& southbound_remotes) {
    const auto text = "[ovs]\novsdb_connection = " + local.remote() +
                      "\n[ovn]\novn_sb_connection = " + southbound_remotes + "\n";
    feed.reset();
    feed = OvnFeed::create(context, OvnOptions::from(Config::parse(text).value()).value()).value();
    directory = std::make_unique<OvnDirectory>(*feed);
    feed->subscribe([this](const InventoryChange& change) {
      ++commits;
      ASSERT_TRUE(change.before && change.after);
    });
    feed->start();
  }

  bool until(const std::function<bool()>& what, std::chrono::milliseconds limit = 10s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!what()) {
      if (std::chrono::steady_clock::now() > end) {
        return false;
      }
      context.restart();
      context.run_for(2ms);
    }
    return true;
  }
  bool settled() {
    return until([&] { return feed->ready(); });
  }

  Result<Identity> find(std::string_view network, std::string_view address) const {
    return directory->known({.network_id = network, .address = address});
  }
  std::string instance(std::string_view network, std::string_view address) const {
    const auto found = find(network, address);
    return found ? found->instance_id : "";
  }
  const Port* port(const std::string& id) const {
    const auto& ports = feed->inventory()->ports;
    const auto found = ports.find(id);
    return found == ports.end() ? nullptr : found->second.get();
  }

  testing_support::Directory files;
  OvsdbServer local{files, "ovs"}, southbound{files, "sb"};
  std::string remotes;
  int keys = 0;
  boost::asio::io_context context;
  std::unique_ptr<OvnFeed> feed;
  std::unique_ptr<OvnDirectory> directory;
  int commits = 0;
};

TEST_F(Ovn, ANewPortAnswersWithNoOtherAction) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  start_feed(remotes);
  EXPECT_EQ(find("net-1", "10.0.0.5").error().code, ErrorCode::unavailable)
      << "nothing is known yet, not even that the port is unknown";
  ASSERT_TRUE(settled());
  EXPECT_EQ(find("net-1", "10.0.0.5").error().code, ErrorCode::not_found);

  ASSERT_TRUE(insert_port(
      port_row("port-1", chassis, network, "fa:16:3e:00:00:01 10.0.0.5 fd00::5", "vm-1")));
  ASSERT_FALSE(add_interface("tapport-1", "port-1", 7).empty());
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(until([&] { return port("port-1") != nullptr && port("port-1")->device; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(instance("net-1", "10.0.0.5"), "vm-1");
  EXPECT_EQ(instance("net-1", "fd00::5"), "vm-1");
  EXPECT_EQ(instance("net-1", "fe80::f816:3eff:fe00:1"), "vm-1");
  EXPECT_EQ(find("net-1", "10.0.0.5")->project_id, "project");
  EXPECT_EQ(instance("net-2", "10.0.0.5"), "");
  EXPECT_EQ(port("port-1")->device, "tapport-1");
  EXPECT_EQ(port("port-1")->mac_address, "fa:16:3e:00:00:01");
  EXPECT_EQ(directory->known({.port_id = "port-1"})->instance_id, "vm-1");
  EXPECT_TRUE(feed->inventory()->networks.contains("net-1"));

  ASSERT_TRUE(update_port("port-1", {{"chassis", set_of(json::array())}}));
  ASSERT_TRUE(until([&] { return port("port-1") == nullptr; }));
  EXPECT_EQ(instance("net-1", "10.0.0.5"), "");
  EXPECT_FALSE(feed->inventory()->networks.contains("net-1"));
}

TEST_F(Ovn, OnlyThisChassisIsWatched) {
  start_southbound();
  const auto here = add_chassis("host-1");
  const auto there = add_chassis("host-2");
  const auto network = add_network("net-1");
  const auto elsewhere = add_network("net-2");
  ASSERT_TRUE(insert_port(port_row("a", here, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-a")));
  ASSERT_TRUE(insert_port(port_row("b", there, network, "fa:16:3e:00:00:02 10.0.0.2", "vm-b")));
  ASSERT_TRUE(insert_port(port_row("c", there, elsewhere, "fa:16:3e:00:00:03 10.0.0.3", "vm-c")));
  start_feed(remotes);
  ASSERT_TRUE(settled());
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "vm-a");
  EXPECT_EQ(instance("net-1", "10.0.0.2"), "");
  EXPECT_EQ(feed->inventory()->ports.size(), 1U);

  // The one that is about to arrive here by live migration answers beforehand.
  ASSERT_TRUE(update_port("c", {{"additional_chassis", known(here)}}));
  ASSERT_TRUE(until([&] { return port("c") != nullptr; }));
  EXPECT_EQ(instance("net-2", "10.0.0.3"), "vm-c");
  ASSERT_TRUE(
      update_port("c", {{"chassis", known(here)}, {"additional_chassis", set_of(json::array())}}));
  ASSERT_TRUE(update_port("a", {{"chassis", known(there)}}));
  ASSERT_TRUE(until([&] { return port("a") == nullptr; }));
  EXPECT_EQ(instance("net-2", "10.0.0.3"), "vm-c");
}

TEST_F(Ovn, DevicesComeAndGo) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm")));
  auto subport = port_row("sub", chassis, network, "fa:16:3e:00:00:02 10.0.0.2", "vm");
  subport["parent_port"] = "a";
  subport["tag"] = 101;
  ASSERT_TRUE(insert_port(subport));
  start_feed(remotes);
  ASSERT_TRUE(settled());
  EXPECT_EQ(port("a")->device, std::nullopt);
  EXPECT_EQ(port("sub")->vlan, 101);
  const auto old = add_interface("tap-old", "a", 0);
  ASSERT_TRUE(until([&] { return port("a")->device == "tap-old"; }));
  EXPECT_EQ(port("sub")->device, "tap-old");
  add_interface("tap-new", "a", 9);
  ASSERT_TRUE(until([&] { return port("a")->device == "tap-new"; }))
      << "the interface without a device was preferred";
  EXPECT_EQ(port("sub")->device, "tap-new");
  remove_bridge(old);
  context.restart();
  context.run_for(50ms);
  EXPECT_EQ(port("a")->device, "tap-new");
}

TEST_F(Ovn, OddRowsAreLeftOutCountedAndNamed) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  const auto nameless =
      transact(
          remotes, "OVN_Southbound",
          {{{"op", "insert"}, {"table", "Datapath_Binding"}, {"row", {{"tunnel_key", ++keys}}}}})
          .at(0)["uuid"][1]
          .get<std::string>();
  ASSERT_TRUE(insert_port(port_row("unknown", chassis, network, "unknown", "vm")));
  auto bare = port_row("bare", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm");
  bare["mac"] = set_of(json::array());
  ASSERT_TRUE(insert_port(bare));
  auto ownerless = port_row("ownerless", chassis, network, "fa:16:3e:00:00:02 10.0.0.2", "vm");
  ownerless["external_ids"] = map_of({});
  ASSERT_TRUE(insert_port(ownerless));
  ASSERT_TRUE(insert_port(port_row("lost", chassis, nameless, "fa:16:3e:00:00:03 10.0.0.3", "vm")));
  auto patch = port_row("patch", chassis, network, "fa:16:3e:00:00:04 10.0.0.4", "vm");
  patch["type"] = "patch";
  ASSERT_TRUE(insert_port(patch));
  auto pairs = port_row("good", chassis, network, "", "vm");
  pairs["mac"] = set_of({"fa:16:3e:00:00:05 10.0.0.5", "fa:16:3e:00:00:06 10.0.0.6", "unknown"});
  ASSERT_TRUE(insert_port(pairs));
  start_feed(remotes);
  ASSERT_TRUE(settled());
  const auto skipped = feed->health().skipped;
  EXPECT_EQ(skipped.size(), 4U);
  EXPECT_THAT(skipped, Contains(Pair("unknown", HasSubstr("'unknown'"))));
  EXPECT_THAT(skipped, Contains(Pair("bare", HasSubstr("empty"))));
  EXPECT_THAT(skipped, Contains(Pair("ownerless", HasSubstr("neutron:device_id"))));
  EXPECT_THAT(skipped, Contains(Pair("lost", HasSubstr("external_ids:name"))));
  EXPECT_EQ(feed->inventory()->ports.size(), 1U);
  EXPECT_EQ(instance("net-1", "10.0.0.5"), "vm");
  EXPECT_EQ(instance("net-1", "10.0.0.6"), "") << "an allowed pair is not an address of the port";
  ASSERT_EQ(port("good")->allowed_address_pairs.size(), 1U);

  ASSERT_TRUE(update_port("bare", {{"mac", "fa:16:3e:00:00:01 10.0.0.1"}}));
  ASSERT_TRUE(until([&] { return instance("net-1", "10.0.0.1") == "vm"; }));
  EXPECT_EQ(feed->health().skipped.size(), 3U);
}

TEST_F(Ovn, ChangesOfARowAreFollowed) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  start_feed(remotes);
  ASSERT_TRUE(settled());
  ASSERT_TRUE(update_port("a", {{"mac", "fa:16:3e:00:00:01 10.0.0.9"},
                                {"external_ids", map_of({{"neutron:device_id", "vm-2"},
                                                         {"neutron:project_id", "project"}})}}));
  ASSERT_TRUE(until([&] { return instance("net-1", "10.0.0.9") == "vm-2"; }));
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "");
}

TEST_F(Ovn, WhatIsKnownIsServedWhileTheDatabasesAreDown) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  ASSERT_TRUE(insert_port(port_row("b", chassis, network, "fa:16:3e:00:00:02 10.0.0.2", "vm-2")));
  start_feed(remotes);
  ASSERT_TRUE(settled());
  southbound.kill(SIGKILL);
  local.kill(SIGKILL);
  ASSERT_TRUE(until(
      [&] { return !feed->health().southbound.connected && !feed->health().local.connected; }));
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "vm-1");
  EXPECT_FALSE(feed->health().southbound.last_error.empty());
  const auto before = commits;
  ASSERT_TRUE(local.start());
  ASSERT_TRUE(southbound.start());
  ASSERT_TRUE(
      until([&] { return feed->health().southbound.connected && feed->health().local.connected; }));
  EXPECT_EQ(commits, before) << "the same contents again are no change";
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "vm-1");
  ASSERT_TRUE(update_port("b", {{"chassis", set_of(json::array())}}));
  ASSERT_TRUE(until([&] { return instance("net-1", "10.0.0.2").empty(); }));
}

TEST_F(Ovn, TheSouthboundDatabaseIsFoundThroughTheLocalOne) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  start_feed("");
  context.run_for(50ms);
  EXPECT_FALSE(feed->ready());
  ASSERT_FALSE(
      transact(local.remote(), "Open_vSwitch",
               {{{"op", "update"},
                 {"table", "Open_vSwitch"},
                 {"where", json::array()},
                 {"row",
                  {{"external_ids", map_of({{"system-id", "host-1"}, {"ovn-remote", remotes}})}}}}})
          .empty());
  ASSERT_TRUE(settled());
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "vm-1");
}

TEST_F(Ovn, WaitingEndsWhenThePortsAreKnown) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  start_feed(remotes);
  feed->wait_until_ready(5s);
  EXPECT_TRUE(feed->ready());
  const OvnDirectory late(*feed);
  EXPECT_EQ(late.known({.network_id = "net-1", .address = "10.0.0.1"})->instance_id, "vm-1");
  southbound.kill(SIGKILL);
  start_feed(remotes);
  const auto begin = std::chrono::steady_clock::now();
  feed->wait_until_ready(200ms);
  EXPECT_FALSE(feed->ready());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
}

TEST_F(Ovn, AChassisThatRegistersLaterIsFound) {
  start_southbound();
  start_feed(remotes);
  ASSERT_TRUE(until([&] { return feed->health().southbound.connected; }));
  context.restart();
  context.run_for(50ms);
  EXPECT_FALSE(feed->ready());
  const auto network = add_network("net-1");
  const auto chassis = add_chassis("host-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  ASSERT_TRUE(until([&] { return instance("net-1", "10.0.0.1") == "vm-1"; }));
}

class OvnCluster : public Ovn {
 protected:
  void SetUp() override {
    Ovn::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
      return;
    }
    ASSERT_TRUE(members[0].create_cluster("ovn-sb.ovsschema"));
    ASSERT_TRUE(members[0].start());
    for (std::size_t which : {1, 2}) {
      ASSERT_TRUE(members[which].join_cluster("OVN_Southbound", members[0]));
      ASSERT_TRUE(members[which].start());
    }
    for (const auto& member : members) {
      ASSERT_TRUE(until([&] {
        return member.control("cluster/status OVN_Southbound").find("Status: cluster member") !=
               std::string::npos;
      }));
      remotes += (remotes.empty() ? "" : ",") + member.remote();
    }
  }
  std::size_t leader() {
    for (int times = 0; times < 200; ++times) {
      for (std::size_t which = 0; which < members.size(); ++which) {
        if (members[which].running() &&
            members[which].control("cluster/status OVN_Southbound").find("Role: leader") !=
                std::string::npos) {
          return which;
        }
      }
      std::this_thread::sleep_for(50ms);
    }
    return members.size();
  }
  std::array<OvsdbServer, 3> members{OvsdbServer{files, "sb1"}, OvsdbServer{files, "sb2"},
                                     OvsdbServer{files, "sb3"}};
};

TEST_F(OvnCluster, LosesNoQuestionWhenTheLeaderIsKilled) {
  const auto chassis = add_chassis("host-1");
  ASSERT_FALSE(chassis.empty());
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  // The client chooses its member by chance; the one to be killed is to be the one it talks to.
  const auto doomed = leader();
  ASSERT_LT(doomed, members.size());
  for (int times = 0; times < 50; ++times) {
    start_feed(remotes);
    ASSERT_TRUE(settled());
    if (feed->health().southbound.remote == members[doomed].remote()) {
      break;
    }
  }
  ASSERT_EQ(feed->health().southbound.remote, members[doomed].remote());

  std::atomic<bool> stop{false};
  std::atomic<long> asked{0}, lost{0};
  std::vector<std::thread> load;
  for (int worker = 0; worker < 2; ++worker) {
    load.emplace_back([&] {
      while (!stop) {
        ++asked;
        if (instance("net-1", "10.0.0.1") != "vm-1") {
          ++lost;
        }
        std::this_thread::sleep_for(50us);
      }
    });
  }
  members[doomed].kill(SIGKILL);
  EXPECT_TRUE(until([&] { return leader() < members.size(); }));
  std::string alive;
  for (const auto& member : members) {
    if (member.running()) {
      alive += (alive.empty() ? "" : ",") + member.remote();
    }
  }
  remotes = alive;
  EXPECT_TRUE(insert_port(port_row("b", chassis, network, "fa:16:3e:00:00:02 10.0.0.2", "vm-2")));
  EXPECT_TRUE(until([&] { return instance("net-1", "10.0.0.2") == "vm-2"; }, 20s));
  stop = true;
  for (auto& worker : load) {
    worker.join();
  }
  EXPECT_GT(asked, 100);
  EXPECT_EQ(lost, 0);
}

TEST_F(OvnCluster, AMemberWithoutItsClusterIsLeft) {
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  start_feed(members[2].remote());
  ASSERT_TRUE(settled());
  members[0].kill(SIGKILL);
  members[1].kill(SIGKILL);
  ASSERT_TRUE(until([&] { return !feed->health().southbound.connected; }, 30s));
  EXPECT_THAT(feed->health().southbound.last_error, HasSubstr("lost its cluster"));
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "vm-1");
  ASSERT_TRUE(members[0].start());
  ASSERT_TRUE(until([&] { return feed->health().southbound.connected; }, 30s));
}

TEST_F(Ovn, SpeaksTls) {
  start_southbound();
  const auto file = [&](const char* name) { return files.file(name); };
  const auto run = [&](const std::string& command) {
    return std::system((command + " >/dev/null 2>&1").c_str()) == 0;
  };
  ASSERT_TRUE(run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout " +
                  file("ca.key") + " -out " + file("ca.pem")));
  ASSERT_TRUE(run("openssl req -newkey rsa:2048 -nodes -subj /CN=peer -keyout " + file("peer.key") +
                  " -out " + file("peer.csr")));
  ASSERT_TRUE(run("openssl x509 -req -days 2 -CAcreateserial -in " + file("peer.csr") + " -CA " +
                  file("ca.pem") + " -CAkey " + file("ca.key") + " -out " + file("peer.pem")));
  southbound.kill(SIGTERM);
  ASSERT_TRUE(southbound.start({"--remote=pssl:0:127.0.0.1", "--private-key=" + file("peer.key"),
                                "--certificate=" + file("peer.pem"), "--ca-cert=" + file("ca.pem"),
                                "-vfile:off"}));
  // The port it chose.
  const auto sockets = OvsdbServer::output(
      "for p in $(seq 1 100); do ss -Hltnp | grep 'pid=" + std::to_string(southbound.pid()) +
      ",' && break; sleep 0.05; done");
  const auto at = sockets.rfind("127.0.0.1:");
  ASSERT_NE(at, std::string::npos);
  const auto tls_port = std::to_string(std::stoi(sockets.substr(at + 10)));
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  const auto text = "[ovs]\novsdb_connection = " + local.remote() +
                    "\n[ovn]\novn_sb_connection = ssl:127.0.0.1:" + tls_port +
                    "\novn_sb_private_key = " + file("peer.key") +
                    "\novn_sb_certificate = " + file("peer.pem") +
                    "\novn_sb_ca_cert = " + file("ca.pem") + "\n";
  feed = OvnFeed::create(context, OvnOptions::from(Config::parse(text).value()).value()).value();
  directory = std::make_unique<OvnDirectory>(*feed);
  feed->start();
  ASSERT_TRUE(settled()) << feed->health().southbound.last_error;
  EXPECT_EQ(instance("net-1", "10.0.0.1"), "vm-1");
}

}  // namespace
}  // namespace metatap::agent
