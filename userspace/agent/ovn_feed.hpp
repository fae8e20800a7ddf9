// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/ovsdb_client.hpp"
#include "base/config.hpp"
#include "metatap/model.hpp"

namespace metatap::agent {

/// Options under Neutron's names: [ovs] ovsdb_connection, ssl_key_file, ssl_cert_file,
/// ssl_ca_cert_file and [ovn] ovn_sb_connection, ovn_sb_private_key, ovn_sb_certificate,
/// ovn_sb_ca_cert, ovsdb_probe_interval.
struct OvnOptions {
  OvsdbOptions local;       ///< the host's Open_vSwitch database
  OvsdbOptions southbound;  ///< no remotes: the local database's external_ids:ovn-remote
  static Result<OvnOptions> from(const Config& config);
};

/// The ports of this host as Open vSwitch and OVN tell of them, kept as an inventory: which device
/// is which port (Interface.external_ids:iface-id), and whose that port is (Port_Binding and
/// Datapath_Binding in the southbound database, only what is bound to this chassis).
///
/// A port is taken when it is a VIF ("" or external) bound to this chassis, now or additionally
/// (live migration), and says its MAC, its network and its owner. Its addresses are those of its
/// first `mac` element, as Neutron's OVN agent has it; those of later ones are allowed pairs. A
/// trunk's subport sits on its parent's device. A row that lacks something is left out, counted
/// and named.
///
/// Everything on the thread that runs the context, listeners too. What is known stays while a
/// database cannot be reached.
class OvnFeed {
 public:
  using Listener = std::function<void(const InventoryChange&)>;

  struct Health {
    OvsdbClient::Health local, southbound;
    std::string chassis;      ///< its name, from external_ids:system-id
    bool registered = false;  ///< the southbound database knows this chassis
    std::size_t ports = 0;
    std::map<std::string, std::string> skipped;  ///< logical port → why it is left out
  };

  static Result<std::unique_ptr<OvnFeed>> create(boost::asio::io_context& context,
                                                 OvnOptions options);
  OvnFeed(const OvnFeed&) = delete;
  OvnFeed& operator=(const OvnFeed&) = delete;

  void subscribe(Listener listener) { listeners_.push_back(std::move(listener)); }
  void start();
  /// Runs the context until ready(), for at most `limit`. To be called before anybody else runs it.
  void wait_until_ready(std::chrono::milliseconds limit);

  [[nodiscard]] std::shared_ptr<const Inventory> inventory() const { return inventory_; }
  /// Both databases have been read at least once, so that an absent port is indeed absent.
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] Health health() const;

 private:
  using Names = std::set<std::string, std::less<>>;
  struct Tap {
    std::string port, name;
    bool present = false;  ///< has an ifindex: the device is really there
  };
  struct Binding {
    std::string port, datapath, parent;
  };

  OvnFeed(boost::asio::io_context& context, OvnOptions options);

  void local_changed(const OvsdbClient::Changes& changes);
  void southbound_changed(const OvsdbClient::Changes& changes);
  void connect_southbound();
  void choose_rows();
  void note_interface(const std::string& uuid, Names& touched);
  void note_binding(const std::string& uuid, Names& touched);
  void forget_binding(const std::string& uuid, Names& touched);
  void note_datapath(const std::string& uuid, Names& touched);
  void touch(const std::string& port, Names& touched) const;
  [[nodiscard]] bool bound_here(const OvsdbRow& row) const;
  [[nodiscard]] Result<std::shared_ptr<const Port>> port_of(const std::string& uuid) const;
  [[nodiscard]] const Tap* tap_of(std::string_view port) const;
  void commit(Names touched);

  boost::asio::io_context& context_;
  OvnOptions options_;
  std::unique_ptr<OvsdbClient> local_, southbound_;
  std::vector<std::string> remotes_;
  std::string chassis_, chassis_uuid_;
  bool rebuild_ = true;  ///< what is noted of the southbound database is not of its present rows
  bool ready_ = false;

  std::map<std::string, Tap, std::less<>> taps_;               // by Interface row
  std::map<std::string, Names, std::less<>> tap_rows_;         // Interface rows by port
  std::map<std::string, Binding, std::less<>> bindings_;       // by Port_Binding row
  std::map<std::string, std::string, std::less<>> port_rows_;  // Port_Binding row by port
  std::map<std::string, Names, std::less<>> datapath_rows_;    // Port_Binding rows by datapath
  std::map<std::string, Names, std::less<>> children_;         // subports by parent port
  std::map<std::string, std::string> skipped_;
  Names pending_;  ///< ports to look at when the databases have said all we asked for

  std::shared_ptr<const Inventory> inventory_ = std::make_shared<Inventory>();
  std::vector<Listener> listeners_;
};

}  // namespace metatap::agent
