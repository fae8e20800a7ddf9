// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_recall.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "agent/port_memory.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::agent {
namespace {

using namespace std::chrono_literals;

Port port_of_vm() {
  Port port;
  port.id = "port";
  port.network_id = "net";
  port.mac_address = "fa:16:3e:00:00:05";
  port.device_id = "vm";
  port.project_id = "project";
  port.device = "tapport";
  port.fixed_ips = {{.subnet_id = {}, .ip_address = "10.0.0.5"}};
  return port;
}

const OvnTap kTap{.port = "port",
                  .name = "tapport",
                  .guest_mac = "FA:16:3E:00:00:05",
                  .instance = "vm",
                  .present = true};

std::string owner(const Port& port, const OvnTap* tap, const Port* parent = nullptr) {
  const auto now = recalled({.before = port, .parent = parent, .tap = tap, .taps_known = true});
  return now ? now->device_id + "/" + now->project_id : "not here";
}

TEST(OvnRecall, AGuestThatIsShownToBeTheSameKeepsItsPort) {
  EXPECT_EQ(owner(port_of_vm(), &kTap), "vm/project");
  auto renamed = kTap;
  renamed.name = "vnet7";
  const auto port = port_of_vm();
  const auto now = recalled({.before = port, .tap = &renamed, .taps_known = true});
  EXPECT_EQ(now->device, "vnet7");
  EXPECT_EQ(now->fixed_ips, port.fixed_ips);
}

TEST(OvnRecall, WhoeverElseIsPluggedInIsNobody) {
  auto tap = kTap;
  tap.instance = "another vm";
  EXPECT_EQ(owner(port_of_vm(), &tap), "/");
  tap.instance = "";
  EXPECT_EQ(owner(port_of_vm(), &tap), "/") << "nothing says who it is";
  tap = kTap;
  tap.guest_mac = "fa:16:3e:00:00:06";
  EXPECT_EQ(owner(port_of_vm(), &tap), "/");
  tap.guest_mac = "";
  EXPECT_EQ(owner(port_of_vm(), &tap), "/");
  auto ownerless = port_of_vm();
  ownerless.device_id = "";
  tap = kTap;
  tap.instance = "";
  EXPECT_FALSE(same_guest({.before = ownerless, .tap = &tap}));
}

TEST(OvnRecall, APortWithoutADeviceIsNotHere) {
  auto tap = kTap;
  tap.present = false;
  EXPECT_EQ(owner(port_of_vm(), &tap), "not here");
  EXPECT_EQ(owner(port_of_vm(), nullptr), "not here");
  const auto port = port_of_vm();
  const auto unknown = recalled({.before = port});
  ASSERT_TRUE(unknown) << "Open vSwitch has not been read";
  EXPECT_EQ(unknown->device_id, "");
}

TEST(OvnRecall, ASubportIsShownByItsParentsDevice) {
  const auto parent = port_of_vm();
  auto subport = port_of_vm();
  subport.id = "sub";
  subport.mac_address = "fa:16:3e:00:00:99";
  subport.vlan = 101;
  Inventory::Table<Port> ports;
  for (const auto& one : {parent, subport}) {
    ports[one.id] = std::make_shared<const Port>(one);
  }
  EXPECT_EQ(parent_of(subport, ports)->id, "port");
  EXPECT_EQ(parent_of(parent, ports), nullptr);
  EXPECT_EQ(owner(subport, &kTap, &parent), "vm/project");
  auto tap = kTap;
  tap.instance = "another vm";
  EXPECT_EQ(owner(subport, &tap, &parent), "/");
  EXPECT_EQ(owner(subport, &kTap), "/") << "whose subport is it?";
}

TEST(OvnRecall, KeepsWhatAFileCanHold) {
  Inventory now;
  now.ports["port"] = std::make_shared<const Port>(port_of_vm());
  auto odd = port_of_vm();
  odd.id = "not/of Neutron";
  now.ports[odd.id] = std::make_shared<const Port>(odd);
  const auto kept = kept_after({}, {"port", odd.id, "never there"}, now);
  ASSERT_TRUE(kept);
  ASSERT_EQ(kept->ports.size(), 1U);
  EXPECT_EQ(kept->ports.find("port")->second->fixed_ips.front().subnet_id, "net");
  EXPECT_FALSE(kept_after(*kept, {"port"}, now)) << "the same";
  const auto less = kept_after(*kept, {"port"}, {});
  ASSERT_TRUE(less);
  EXPECT_TRUE(less->ports.empty());
}

std::shared_ptr<const Inventory> inventory_of(const Port& port) {
  auto inventory = std::make_shared<Inventory>();
  inventory->ports[port.id] = std::make_shared<const Port>(port);
  inventory->revision = 1;
  return inventory;
}

/// What the file has, once its thread has written.
std::shared_ptr<const Inventory> recalled_from(const std::filesystem::path& file,
                                               const std::string& source) {
  for (int i = 0; i < 500; ++i) {
    if (auto ports = PortMemory(file, source).recall(); !ports->ports.empty()) {
      return ports;
    }
    std::this_thread::sleep_for(10ms);
  }
  return std::make_shared<const Inventory>();
}

TEST(PortMemory, IsThereAtTheNextStart) {
  const TemporaryDirectory directory;
  const auto file = directory.path() / "ovn.snapshot";
  const auto port =
      *kept_after({}, {"port"}, *inventory_of(port_of_vm()))->ports.find("port")->second;
  {
    PortMemory memory(file, "OVN");
    EXPECT_TRUE(memory.recall()->ports.empty());
    EXPECT_EQ(memory.age(), 0s);
    memory.keep(inventory_of(port));
    const auto again = recalled_from(file, "OVN");
    ASSERT_EQ(again->ports.size(), 1U);
    EXPECT_EQ(*again->ports.find("port")->second, port);
  }
  EXPECT_TRUE(PortMemory(file, "another's").recall()->ports.empty()) << "of another source";
}

TEST(PortMemory, WithoutAFileKeepsNothing) {
  PortMemory memory("", "OVN");
  memory.keep(inventory_of(port_of_vm()));
  EXPECT_TRUE(memory.recall()->ports.empty());
}

}  // namespace
}  // namespace metatap::agent
