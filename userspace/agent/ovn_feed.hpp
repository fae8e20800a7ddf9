// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/ovn_heartbeat.hpp"
#include "agent/ovn_options.hpp"
#include "agent/ovn_port.hpp"
#include "agent/ovsdb_client.hpp"
#include "agent/port_memory.hpp"
#include "metatap/model.hpp"

namespace metatap::agent {

/// The ports of this host as Open vSwitch and OVN tell of them, kept as an inventory: which device
/// is which port (Interface.external_ids:iface-id), and whose that port is (Port_Binding and
/// Datapath_Binding in the southbound database; ovn_port.hpp says how they are read).
///
/// A port is here when it is a VIF ("" or external) bound to this chassis, now or additionally
/// (live migration). One that is bound nowhere is here when its device is and nobody else is asked
/// to bind it: so while ovn-controller is restarted. A row that cannot be read is left out, counted
/// and named.
///
/// Of the southbound database only rows of this host are asked for: what is bound to its chassis,
/// and what is plugged into it.
///
/// What is known stays while a database cannot be reached, also over a restart (PortMemory).
/// Whoever is plugged in meanwhile, and after a restart each port, is believed to be the guest that
/// the port had only where Open vSwitch shows it (ovn_recall.hpp); until then the port is here
/// without an owner, and the feed is not ready().
///
/// Everything on the thread that runs the context, listeners too.
class OvnFeed {
 public:
  using Listener = std::function<void(const InventoryChange&)>;

  struct Health {
    OvsdbClient::Health local, southbound;
    std::string chassis;      ///< its name, from external_ids:system-id
    bool registered = false;  ///< the southbound database knows this chassis
    std::size_t ports = 0;
    std::size_t doubtful = 0;     ///< of these: nothing shows whose they are now
    std::chrono::seconds age{0};  ///< for how long OVN has not confirmed what is served
    std::map<std::string, OvnSkipped> skipped;  ///< by logical port: why it is left out
    OvnHeartbeat::Health report;
  };

  /// How a port came to be here. The last two: OVN cannot be asked, and it is known from before.
  enum class Standing : std::uint8_t { bound, additional, unbound, remembered, doubtful };
  /// What OVN says of a port and an inventory has no place for.
  struct PortFacts {
    std::string name;  ///< neutron:port_name
    Standing standing = Standing::bound;
    bool external = false;  ///< its frames come over the network: there is no device to stand on
  };

  static Result<std::unique_ptr<OvnFeed>> create(boost::asio::io_context& context,
                                                 OvnOptions options);
  OvnFeed(const OvnFeed&) = delete;
  OvnFeed& operator=(const OvnFeed&) = delete;

  void subscribe(Listener listener) { listeners_.push_back(std::move(listener)); }
  void start();
  /// From now on Neutron is shown that the metadata agent is alive, if the options say so. To be
  /// called when guests are served.
  void report();
  /// To be called every few seconds: notes that what is known is still so.
  void confirm();
  /// Runs the context until ready(), for at most `limit`. To be called before anybody else runs it.
  void wait_until_ready(std::chrono::milliseconds limit);

  [[nodiscard]] std::shared_ptr<const Inventory> inventory() const { return inventory_; }
  /// Both databases have been read at least once, and nobody is in doubt: so an absent port, and
  /// one without an owner, is nobody's.
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] Health health() const;
  /// nullopt: the port is not here.
  [[nodiscard]] std::optional<PortFacts> facts(std::string_view port) const;

 private:
  using Names = std::set<std::string, std::less<>>;
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
  void note_everything(Names& touched);
  void touch(const std::string& port, Names& touched) const;
  [[nodiscard]] nlohmann::json clauses_for_ports() const;
  [[nodiscard]] const OvsdbRow* row_of(std::string_view port) const;
  [[nodiscard]] const OvnTap* tap_of(std::string_view port) const;
  /// nullopt: not here.
  [[nodiscard]] std::optional<Standing> standing_of(const OvsdbRow& row, const OvnTap* tap) const;
  [[nodiscard]] std::shared_ptr<const Port> port_of(const std::string& id);
  [[nodiscard]] std::shared_ptr<const Port> told_port(const std::string& id);
  [[nodiscard]] std::shared_ptr<const Port> remembered_port(const std::string& id) const;
  [[nodiscard]] bool answers() const;
  void remember(const Names& touched);
  void commit(Names touched);
  void publish(const Names& touched);

  boost::asio::io_context& context_;
  OvnOptions options_;
  std::unique_ptr<OvsdbClient> local_, southbound_;
  std::vector<std::string> remotes_;
  std::shared_ptr<OvnHeartbeat> heartbeat_;  ///< of southbound_
  std::string chassis_, chassis_uuid_, bridge_;
  bool rebuild_ = true;  ///< what is noted of the southbound database is not of its present rows
  bool heard_ = false;   ///< the southbound database has spoken since the start
  bool ready_ = false, reporting_ = false;

  std::map<std::string, OvnTap, std::less<>> taps_;            // by Interface row
  std::map<std::string, Names, std::less<>> tap_rows_;         // Interface rows by port
  std::map<std::string, Binding, std::less<>> bindings_;       // by Port_Binding row
  std::map<std::string, std::string, std::less<>> port_rows_;  // Port_Binding row by port
  std::map<std::string, Names, std::less<>> datapath_rows_;    // Port_Binding rows by datapath
  std::map<std::string, Names, std::less<>> children_;         // subports by parent port
  std::map<std::string, OvnSkipped> skipped_;
  PortMemory memory_;
  std::shared_ptr<const Inventory> told_;  ///< the ports as OVN had them last, in their kept form
  Names doubtful_;
  Names pending_;  ///< ports to look at when the databases have said all we asked for

  std::shared_ptr<const Inventory> inventory_ = std::make_shared<Inventory>();
  std::vector<Listener> listeners_;
};

/// "bound", "additional", "unbound", "remembered" or "doubtful".
[[nodiscard]] std::string_view name_of(OvnFeed::Standing standing);

}  // namespace metatap::agent
