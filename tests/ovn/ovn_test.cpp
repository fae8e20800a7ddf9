// SPDX-License-Identifier: Apache-2.0
#include "ovn/ovn_fixture.hpp"

#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <thread>

namespace metatap::agent {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Pair;
using Reason = OvnSkipped::Reason;

MATCHER_P2(Lacks, reason, text, "") {
  return arg.reason == reason && arg.text.find(text) != std::string::npos;
}

TEST_F(Ovn, ANewPortAnswersWithNoOtherAction) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  here.follow(remotes);
  EXPECT_EQ(here.find("net-1", "10.0.0.5").error().code, ErrorCode::unavailable)
      << "nothing is known yet, not even that the port is unknown";
  ASSERT_TRUE(settled());
  EXPECT_EQ(here.find("net-1", "10.0.0.5").error().code, ErrorCode::not_found);

  ASSERT_TRUE(insert_port(
      port_row("port-1", chassis, network, "fa:16:3e:00:00:01 10.0.0.5 fd00::5", "vm-1")));
  ASSERT_FALSE(here.plug("tapport-1", "port-1", 7).empty());
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(until([&] { return here.port("port-1") != nullptr && here.port("port-1")->device; }));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
  EXPECT_EQ(here.instance("net-1", "10.0.0.5"), "vm-1");
  EXPECT_EQ(here.instance("net-1", "fd00::5"), "vm-1");
  EXPECT_EQ(here.instance("net-1", "fe80::f816:3eff:fe00:1"), "vm-1");
  EXPECT_EQ(here.find("net-1", "10.0.0.5")->project_id, "project");
  EXPECT_EQ(here.instance("net-2", "10.0.0.5"), "");
  EXPECT_EQ(here.port("port-1")->device, "tapport-1");
  EXPECT_EQ(here.port("port-1")->mac_address, "fa:16:3e:00:00:01");
  EXPECT_EQ(here.directory->known({.port_id = "port-1"})->instance_id, "vm-1");
  EXPECT_TRUE(here.feed->inventory()->networks.contains("net-1"));

  ASSERT_TRUE(delete_rows("Port_Binding", "logical_port", "port-1"));
  ASSERT_TRUE(until([&] { return here.port("port-1") == nullptr; }));
  EXPECT_EQ(here.instance("net-1", "10.0.0.5"), "");
  EXPECT_FALSE(here.feed->inventory()->networks.contains("net-1"));
}

TEST_F(Ovn, OnlyThisChassisIsWatched) {
  start_southbound();
  const auto own = add_chassis("host-1");
  const auto there = add_chassis("host-2");
  const auto network = add_network("net-1");
  const auto elsewhere = add_network("net-2");
  ASSERT_TRUE(insert_port(port_row("a", own, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-a")));
  ASSERT_TRUE(insert_port(port_row("b", there, network, "fa:16:3e:00:00:02 10.0.0.2", "vm-b")));
  ASSERT_TRUE(insert_port(port_row("c", there, elsewhere, "fa:16:3e:00:00:03 10.0.0.3", "vm-c")));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-a");
  EXPECT_EQ(here.instance("net-1", "10.0.0.2"), "");
  EXPECT_EQ(here.feed->inventory()->ports.size(), 1U);

  // The one that is about to arrive here by live migration answers beforehand.
  ASSERT_TRUE(update_port("c", {{"additional_chassis", known(own)}}));
  ASSERT_TRUE(until([&] { return here.port("c") != nullptr; }));
  EXPECT_EQ(here.instance("net-2", "10.0.0.3"), "vm-c");
  ASSERT_TRUE(
      update_port("c", {{"chassis", known(own)}, {"additional_chassis", set_of(json::array())}}));
  ASSERT_TRUE(update_port("a", {{"chassis", known(there)}}));
  ASSERT_TRUE(until([&] { return here.port("a") == nullptr; }));
  EXPECT_EQ(here.instance("net-2", "10.0.0.3"), "vm-c");
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
  here.follow(remotes);
  ASSERT_TRUE(settled());
  EXPECT_EQ(here.port("a")->device, std::nullopt);
  EXPECT_EQ(here.port("sub")->vlan, 101);
  const auto old = here.plug("tap-old", "a", 0);
  ASSERT_TRUE(until([&] { return here.port("a")->device == "tap-old"; }));
  EXPECT_EQ(here.port("sub")->device, "tap-old");
  here.plug("tap-new", "a", 9);
  ASSERT_TRUE(until([&] { return here.port("a")->device == "tap-new"; }))
      << "the interface without a device was preferred";
  EXPECT_EQ(here.port("sub")->device, "tap-new");
  here.unplug(old);
  context.restart();
  context.run_for(50ms);
  EXPECT_EQ(here.port("a")->device, "tap-new");
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
  here.follow(remotes);
  ASSERT_TRUE(settled());
  const auto skipped = here.feed->health().skipped;
  EXPECT_EQ(skipped.size(), 4U);
  EXPECT_THAT(skipped, Contains(Pair("unknown", Lacks(Reason::mac, "'unknown'"))));
  EXPECT_THAT(skipped, Contains(Pair("bare", Lacks(Reason::mac, "empty"))));
  EXPECT_THAT(skipped, Contains(Pair("ownerless", Lacks(Reason::owner, "neutron:device_id"))));
  EXPECT_THAT(skipped, Contains(Pair("lost", Lacks(Reason::network, "external_ids:name"))));
  EXPECT_EQ(here.feed->inventory()->ports.size(), 1U);
  EXPECT_EQ(here.instance("net-1", "10.0.0.5"), "vm");
  EXPECT_EQ(here.instance("net-1", "10.0.0.6"), "")
      << "an allowed pair is not an address of the port";
  ASSERT_EQ(here.port("good")->allowed_address_pairs.size(), 1U);

  ASSERT_TRUE(update_port("bare", {{"mac", "fa:16:3e:00:00:01 10.0.0.1"}}));
  ASSERT_TRUE(until([&] { return here.instance("net-1", "10.0.0.1") == "vm"; }));
  EXPECT_EQ(here.feed->health().skipped.size(), 3U);
}

TEST_F(Ovn, ChangesOfARowAreFollowed) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  ASSERT_TRUE(update_port("a", {{"mac", "fa:16:3e:00:00:01 10.0.0.9"},
                                {"external_ids", map_of({{"neutron:device_id", "vm-2"},
                                                         {"neutron:project_id", "project"}})}}));
  ASSERT_TRUE(until([&] { return here.instance("net-1", "10.0.0.9") == "vm-2"; }));
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "");
}

TEST_F(Ovn, WhatIsKnownIsServedWhileTheDatabasesAreDown) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  ASSERT_TRUE(insert_port(port_row("b", chassis, network, "fa:16:3e:00:00:02 10.0.0.2", "vm-2")));
  here.follow(remotes);
  ASSERT_TRUE(settled());
  southbound.kill(SIGKILL);
  here.local.kill(SIGKILL);
  ASSERT_TRUE(until([&] {
    return !here.feed->health().southbound.connected && !here.feed->health().local.connected;
  }));
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-1");
  EXPECT_FALSE(here.feed->health().southbound.last_error.empty());
  const auto before = here.commits;
  ASSERT_TRUE(here.local.start());
  ASSERT_TRUE(southbound.start());
  ASSERT_TRUE(until([&] {
    return here.feed->health().southbound.connected && here.feed->health().local.connected;
  }));
  EXPECT_EQ(here.commits, before) << "the same contents again are no change";
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-1");
  ASSERT_TRUE(update_port("b", {{"chassis", set_of(json::array())}}));
  ASSERT_TRUE(until([&] { return here.instance("net-1", "10.0.0.2").empty(); }));
}

TEST_F(Ovn, TheSouthboundDatabaseIsFoundThroughTheLocalOne) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  here.follow("");
  context.run_for(50ms);
  EXPECT_FALSE(here.feed->ready());
  ASSERT_FALSE(
      transact(here.local.remote(), "Open_vSwitch",
               {{{"op", "update"},
                 {"table", "Open_vSwitch"},
                 {"where", json::array()},
                 {"row",
                  {{"external_ids", map_of({{"system-id", "host-1"}, {"ovn-remote", remotes}})}}}}})
          .empty());
  ASSERT_TRUE(settled());
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-1");
}

TEST_F(Ovn, WaitingEndsWhenThePortsAreKnown) {
  start_southbound();
  const auto chassis = add_chassis("host-1");
  const auto network = add_network("net-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  here.follow(remotes);
  here.feed->wait_until_ready(5s);
  EXPECT_TRUE(here.feed->ready());
  const OvnDirectory late(*here.feed);
  EXPECT_EQ(late.known({.network_id = "net-1", .address = "10.0.0.1"})->instance_id, "vm-1");
  southbound.kill(SIGKILL);
  here.follow(remotes);
  const auto begin = std::chrono::steady_clock::now();
  here.feed->wait_until_ready(200ms);
  EXPECT_FALSE(here.feed->ready());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
}

TEST_F(Ovn, AChassisThatRegistersLaterIsFound) {
  start_southbound();
  here.follow(remotes);
  ASSERT_TRUE(until([&] { return here.feed->health().southbound.connected; }));
  context.restart();
  context.run_for(50ms);
  EXPECT_FALSE(here.feed->ready());
  const auto network = add_network("net-1");
  const auto chassis = add_chassis("host-1");
  ASSERT_TRUE(insert_port(port_row("a", chassis, network, "fa:16:3e:00:00:01 10.0.0.1", "vm-1")));
  ASSERT_TRUE(until([&] { return here.instance("net-1", "10.0.0.1") == "vm-1"; }));
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
    here.follow(remotes);
    ASSERT_TRUE(settled());
    if (here.feed->health().southbound.remote == members[doomed].remote()) {
      break;
    }
  }
  ASSERT_EQ(here.feed->health().southbound.remote, members[doomed].remote());

  std::atomic<bool> stop{false};
  std::atomic<long> asked{0}, lost{0};
  std::vector<std::thread> load;
  for (int worker = 0; worker < 2; ++worker) {
    load.emplace_back([&] {
      while (!stop) {
        ++asked;
        if (here.instance("net-1", "10.0.0.1") != "vm-1") {
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
  EXPECT_TRUE(until([&] { return here.instance("net-1", "10.0.0.2") == "vm-2"; }, 20s));
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
  here.follow(members[2].remote());
  ASSERT_TRUE(settled());
  members[0].kill(SIGKILL);
  members[1].kill(SIGKILL);
  ASSERT_TRUE(until([&] { return !here.feed->health().southbound.connected; }, 30s));
  EXPECT_THAT(here.feed->health().southbound.last_error, HasSubstr("lost its cluster"));
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-1");
  ASSERT_TRUE(members[0].start());
  ASSERT_TRUE(until([&] { return here.feed->health().southbound.connected; }, 30s));
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
  const auto text = "[ovs]\novsdb_connection = " + here.local.remote() +
                    "\n[ovn]\novn_sb_connection = ssl:127.0.0.1:" + tls_port +
                    "\novn_sb_private_key = " + file("peer.key") +
                    "\novn_sb_certificate = " + file("peer.pem") +
                    "\novn_sb_ca_cert = " + file("ca.pem") + "\n";
  here.follow(OvnOptions::from(Config::parse(text).value()).value());
  ASSERT_TRUE(settled()) << here.feed->health().southbound.last_error;
  EXPECT_EQ(here.instance("net-1", "10.0.0.1"), "vm-1");
}

}  // namespace
}  // namespace metatap::agent
