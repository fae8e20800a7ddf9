// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/ovn_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "ovn/ovsdb_servers.hpp"

/// A host's Open vSwitch database and a southbound database, both real, and what Nova, Neutron's
/// ML2/OVN driver, ovn-northd and ovn-controller write into them.
namespace metatap::agent {

using nlohmann::json;
using testing_support::OvsdbServer;
using testing_support::transact;
using namespace std::chrono_literals;

inline json map_of(const std::map<std::string, std::string>& pairs) {
  json all = json::array();
  for (const auto& [key, value] : pairs) {
    all.push_back(json::array({key, value}));
  }
  return json::array({"map", all});
}

inline json named(const std::string& name) {
  return json::array({"named-uuid", name});
}
inline json known(const std::string& uuid) {
  return json::array({"uuid", uuid});
}
inline json set_of(const json& elements) {
  return json::array({"set", elements});
}

/// One host: its Open vSwitch database, and what we make of it and the southbound one.
class OvnHost {
 public:
  OvnHost(boost::asio::io_context& context, const testing_support::Directory& files,
          std::string name)
      : local(files, name), context_(context), name_(std::move(name)) {}

  bool start() {
    return local.create("vswitch.ovsschema") && local.start() &&
           !transact(local.remote(), "Open_vSwitch",
                     {{{"op", "insert"},
                       {"table", "Open_vSwitch"},
                       {"row", {{"external_ids", map_of({{"system-id", name_}})}}}}})
                .empty();
  }

  /// As Nova and the vswitch do it together: an interface with the port's id and the guest's MAC,
  /// and a device behind it, if `ifindex` is not 0.
  std::string plug(const std::string& device, const std::string& port, int ifindex,
                   const std::string& mac = "") {
    std::map<std::string, std::string> ids{{"iface-id", port}};
    if (!mac.empty()) {
      ids["attached-mac"] = mac;
    }
    json interface = {{"name", device}, {"external_ids", map_of(ids)}};
    if (ifindex > 0) {
      interface["ifindex"] = ifindex;
    }
    const auto result = transact(
        local.remote(), "Open_vSwitch",
        {{{"op", "insert"}, {"table", "Interface"}, {"uuid-name", "i"}, {"row", interface}},
         {{"op", "insert"},
          {"table", "Port"},
          {"uuid-name", "p"},
          {"row", {{"name", device}, {"interfaces", named("i")}}}},
         {{"op", "insert"},
          {"table", "Bridge"},
          {"uuid-name", "b"},
          {"row", {{"name", "br-" + device}, {"ports", named("p")}}}},
         {{"op", "mutate"},
          {"table", "Open_vSwitch"},
          {"where", json::array()},
          {"mutations",
           json::array({json::array({"bridges", "insert", set_of(json::array({named("b")}))})})}}});
    return result.empty() ? "" : result[2]["uuid"][1].get<std::string>();
  }
  void unplug(const std::string& bridge) {
    transact(local.remote(), "Open_vSwitch",
             {{{"op", "mutate"},
               {"table", "Open_vSwitch"},
               {"where", json::array()},
               {"mutations", json::array({json::array(
                                 {"bridges", "delete", set_of(json::array({known(bridge)}))})})}}});
  }

  void follow(const std::string& southbound) {
    auto options =
        OvnOptions::from(Config::parse("[ovs]\novsdb_connection = " + local.remote() +
                                       "\n[ovn]\novn_sb_connection = " + southbound + "\n")
                             .value())
            .value();
    options.report_within = 0ms;
    follow(std::move(options));
  }
  void follow(OvnOptions options) {
    directory.reset();
    feed.reset();
    feed = OvnFeed::create(context_, std::move(options)).value();
    directory = std::make_unique<OvnDirectory>(*feed);
    feed->subscribe([this](const InventoryChange& change) {
      ++commits;
      ASSERT_TRUE(change.before && change.after);
    });
    feed->start();
  }

  [[nodiscard]] Result<Identity> find(std::string_view network, std::string_view address) const {
    return directory->known({.network_id = network, .address = address});
  }
  /// Whose metadata a guest at that address gets; empty: nobody's.
  [[nodiscard]] std::string instance(std::string_view network, std::string_view address) const {
    const auto found = find(network, address);
    return found ? found->instance_id : "";
  }
  [[nodiscard]] const Port* port(const std::string& id) const {
    const auto& ports = feed->inventory()->ports;
    const auto found = ports.find(id);
    return found == ports.end() ? nullptr : found->second.get();
  }

  OvsdbServer local;
  std::unique_ptr<OvnFeed> feed;
  std::unique_ptr<OvnDirectory> directory;
  int commits = 0;

 private:
  boost::asio::io_context& context_;
  std::string name_;
};

class Ovn : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = testing_support::missing(); !why.empty()) {
      GTEST_SKIP() << why;
    }
    ASSERT_TRUE(here.start());
  }

  void start_southbound(const std::string& schema = "ovn-sb.ovsschema") {
    ASSERT_TRUE(southbound.create(schema));
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
  /// A port's row as Neutron's ML2/OVN driver and ovn-northd fill it (2026.1). `addresses` and
  /// `port_security` are the columns `mac` and `port_security`; `cidrs` with lengths.
  json neutron_row(const std::string& port, const std::string& datapath, const json& addresses,
                   const json& port_security, const std::string& cidrs,
                   const std::string& instance) {
    return {{"logical_port", port},
            {"datapath", known(datapath)},
            {"mac", set_of(addresses)},
            {"port_security", set_of(port_security)},
            {"tunnel_key", ++keys},
            {"options", map_of({{"requested-chassis", "host-1"}, {"mcast_flood_reports", "true"}})},
            {"external_ids",
             map_of({{"name", "name of " + port},
                     {"neutron:cidrs", cidrs},
                     {"neutron:device_id", instance},
                     {"neutron:device_owner", instance.empty() ? "trunk:subport" : "compute:nova"},
                     {"neutron:host_id", "host-1"},
                     {"neutron:mtu", "1442"},
                     {"neutron:network_name", "neutron-net-1"},
                     {"neutron:port_capabilities", ""},
                     {"neutron:port_name", "name of " + port},
                     {"neutron:project_id", instance.empty() ? "other" : "project"},
                     {"neutron:revision_number", "4"},
                     {"neutron:security_group_ids", "b4ef5d5c-2a3f-4a53-8a58-9cdc1c7fcd27"},
                     {"neutron:subnet_pool_addr_scope4", ""},
                     {"neutron:subnet_pool_addr_scope6", ""},
                     {"neutron:vnic_type", "normal"}})}};
  }
  bool insert_port(const json& row) {
    return !transact(remotes, "OVN_Southbound",
                     {{{"op", "insert"}, {"table", "Port_Binding"}, {"row", row}}})
                .empty();
  }
  bool delete_rows(const std::string& table, const std::string& column, const std::string& value) {
    return !transact(remotes, "OVN_Southbound",
                     {{{"op", "delete"},
                       {"table", table},
                       {"where", json::array({json::array({column, "==", value})})}}})
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
    return until([&] { return here.feed->ready(); });
  }
  /// Lets pass what would still change something.
  void quiet() {
    context.restart();
    context.run_for(60ms);
  }

  testing_support::Directory files;
  OvsdbServer southbound{files, "sb"};
  std::string remotes;
  int keys = 0;
  boost::asio::io_context context;
  OvnHost here{context, files, "host-1"};
};

}  // namespace metatap::agent
