// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_feed.hpp"

#include <algorithm>
#include <utility>

#include "agent/ovn_recall.hpp"
#include "base/log.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;

constexpr std::string_view kDefaultBridge = "br-int";

json no_rows() {
  return json::array({false});
}

json uuid_value(const std::string& uuid) {
  return json::array({"uuid", uuid});
}

json clause(std::string_view column, std::string_view function, json value) {
  return json::array({column, function, std::move(value)});
}

std::vector<std::string> comma_separated(const std::string& text) {
  std::vector<std::string> all;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const auto end = std::min(text.find(',', begin), text.size());
    if (end > begin) {
      all.push_back(text.substr(begin, end - begin));
    }
    begin = end + 1;
  }
  return all;
}

std::map<std::string, OvsdbMonitor> southbound_tables() {
  std::map<std::string, OvsdbMonitor> tables;
  tables["Chassis"] = {{"name"}, no_rows()};
  tables["Chassis_Private"] = {{"name", "external_ids"}, no_rows(), true};
  tables["SB_Global"] = {{"nb_cfg"}, no_rows(), true};
  tables["Port_Binding"] = {{"logical_port", "type", "chassis", "additional_chassis",
                             "requested_chassis", "requested_additional_chassis", "mac",
                             "port_security", "datapath", "external_ids", "parent_port", "tag"},
                            no_rows()};
  tables["Datapath_Binding"] = {{"external_ids"}, no_rows()};
  return tables;
}

/// A guest's port, or what stands in for one that has no device here. Patches, routers' and virtual
/// ports, and the metadata port itself are not: a virtual port is an address of its parent.
bool is_guest(const OvsdbRow& row) {
  const auto type = ovsdb_text(row, "type").value_or("");
  return type.empty() || type == "external";
}

bool includes(const std::vector<std::string>& all, const std::string& one) {
  return std::ranges::find(all, one) != all.end();
}

}  // namespace

std::string_view name_of(OvnFeed::Standing standing) {
  switch (standing) {
    case OvnFeed::Standing::bound:
      return "bound";
    case OvnFeed::Standing::additional:
      return "additional";
    case OvnFeed::Standing::unbound:
      return "unbound";
    case OvnFeed::Standing::remembered:
      return "remembered";
    case OvnFeed::Standing::doubtful:
      return "doubtful";
  }
  return "";
}

OvnFeed::OvnFeed(boost::asio::io_context& context, OvnOptions options)
    : context_(context),
      options_(std::move(options)),
      remotes_(options_.southbound.remotes),
      memory_(options_.memory, "OVN, chassis of " + options_.local.remotes.front()) {}

Result<std::unique_ptr<OvnFeed>> OvnFeed::create(boost::asio::io_context& context,
                                                 OvnOptions options) {
  std::unique_ptr<OvnFeed> feed(new OvnFeed(context, std::move(options)));
  std::map<std::string, OvsdbMonitor> tables;
  tables["Open_vSwitch"].columns = {"external_ids"};
  tables["Interface"].columns = {"name", "ifindex", "external_ids"};
  auto local = OvsdbClient::create(
      context, feed->options_.local, std::move(tables),
      [feed = feed.get()](const OvsdbClient::Changes& changes) { feed->local_changed(changes); });
  if (!local) {
    return tl::make_unexpected(std::move(local.error()).in("[ovs] ovsdb_connection"));
  }
  feed->local_ = std::move(*local);
  if (!feed->remotes_.empty()) {
    // What is wrong with the option is to be known at start, not when the chassis is.
    const auto tried = OvsdbClient::create(context, feed->options_.southbound, {}, nullptr);
    if (!tried) {
      return tl::make_unexpected(Error(tried.error()).in("[ovn] ovn_sb_connection"));
    }
  }
  return feed;
}

void OvnFeed::start() {
  told_ = memory_.recall();
  for (const auto& [id, port] : told_->ports) {
    pending_.insert(id);
  }
  commit({});
  local_->start();
}

void OvnFeed::confirm() {
  if (heard_ && pending_.empty() && answers()) {
    memory_.confirm();
  }
}

void OvnFeed::report() {
  reporting_ = options_.report;
  if (heartbeat_ && reporting_) {
    heartbeat_->look(bridge_);
  }
}

void OvnFeed::wait_until_ready(std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!ready_ && std::chrono::steady_clock::now() < end) {
    if (context_.run_one_until(end) == 0) {
      break;
    }
  }
  context_.restart();
  if (!ready_) {
    const auto known = inventory_->ports.size() - doubtful_.size();
    log::warn(
        "ovn: {} ports are known from before, {} of them surely the same guests', and no "
        "others yet: the local database is {}, the southbound one {}, chassis '{}' {}",
        inventory_->ports.size(), known, local_->health().connected ? "connected" : "not connected",
        southbound_ && southbound_->health().connected ? "connected" : "not connected", chassis_,
        chassis_uuid_.empty() ? "is not registered" : "is registered");
  }
}

OvnFeed::Health OvnFeed::health() const {
  return {.local = local_->health(),
          .southbound = southbound_ ? southbound_->health() : OvsdbClient::Health(),
          .chassis = chassis_,
          .registered = !chassis_uuid_.empty(),
          .ports = inventory_->ports.size(),
          .doubtful = doubtful_.size(),
          .age = heard_ && answers() ? std::chrono::seconds(0) : memory_.age(),
          .skipped = skipped_,
          .report = heartbeat_ ? heartbeat_->health() : OvnHeartbeat::Health()};
}

std::optional<OvnFeed::PortFacts> OvnFeed::facts(std::string_view port) const {
  const auto* row = row_of(port);
  if (!inventory_->ports.contains(port)) {
    return std::nullopt;
  }
  if (row == nullptr || doubtful_.contains(port)) {
    return PortFacts{.standing =
                         doubtful_.contains(port) ? Standing::doubtful : Standing::remembered};
  }
  const auto parent = ovsdb_text(*row, "parent_port").value_or("");
  const auto standing = standing_of(*row, tap_of(parent.empty() ? port : parent));
  return PortFacts{.name = ovsdb_entry(*row, "external_ids", "neutron:port_name").value_or(""),
                   .standing = standing.value_or(Standing::unbound),
                   .external = ovsdb_text(*row, "type") == "external"};
}

void OvnFeed::local_changed(const OvsdbClient::Changes& changes) {
  Names touched;
  for (const auto& [table, uuid] : changes) {
    if (table == "Interface") {
      note_interface(uuid, touched);
    }
  }
  const auto& own = local_->rows("Open_vSwitch");
  if (!own.empty()) {
    const auto& row = own.begin()->second;
    const auto bridge = ovsdb_entry(row, "external_ids", "ovn-bridge").value_or("");
    bridge_ = bridge.empty() ? kDefaultBridge : bridge;
    if (auto name = ovsdb_entry(row, "external_ids", "system-id"); name && *name != chassis_) {
      chassis_ = std::move(*name);
      heartbeat_.reset();
      log::info("ovn: this chassis is {}", chassis_);
    }
    if (options_.southbound.remotes.empty()) {
      auto remotes = comma_separated(ovsdb_entry(row, "external_ids", "ovn-remote").value_or(""));
      if (!remotes.empty() && remotes != remotes_) {
        remotes_ = std::move(remotes);
        heartbeat_.reset();
        southbound_.reset();
        rebuild_ = true;
      }
    }
  }
  connect_southbound();
  choose_rows();
  commit(std::move(touched));
}

void OvnFeed::connect_southbound() {
  if (remotes_.empty() || chassis_.empty()) {
    return;
  }
  if (!southbound_) {
    auto options = options_.southbound;
    options.remotes = remotes_;
    auto client = OvsdbClient::create(
        context_, std::move(options), southbound_tables(),
        [this](const OvsdbClient::Changes& changes) { southbound_changed(changes); });
    if (!client) {
      log::error("ovn: external_ids:ovn-remote: {}", client.error().message);
      return;
    }
    southbound_ = std::move(*client);
    choose_rows();
    southbound_->start();
  }
  if (!heartbeat_) {
    heartbeat_ =
        std::make_shared<OvnHeartbeat>(context_, *southbound_, chassis_, options_.report_within);
  }
  if (reporting_) {
    heartbeat_->look(bridge_);
  }
}

/// Asks for the rows that concern this host, and no others. A narrower question follows from the
/// answer to a wider one: our name, then our ports, then their networks.
void OvnFeed::choose_rows() {
  if (!southbound_) {
    return;
  }
  const auto by_name = json::array({clause("name", "==", chassis_)});
  southbound_->where("Chassis", by_name);
  if (options_.report) {
    southbound_->where("Chassis_Private", by_name);
    southbound_->where("SB_Global", json::array({true}));
  }
  std::string uuid;
  for (const auto& [row_uuid, row] : southbound_->rows("Chassis")) {
    if (ovsdb_text(row, "name") == chassis_) {
      uuid = row_uuid;
    }
  }
  if (uuid != std::exchange(chassis_uuid_, uuid)) {
    rebuild_ = true;
  }
  southbound_->where("Port_Binding", clauses_for_ports());
  json networks = json::array();
  for (const auto& [datapath, rows] : datapath_rows_) {
    networks.push_back(clause("_uuid", "==", uuid_value(datapath)));
  }
  southbound_->where("Datapath_Binding", networks.empty() ? no_rows() : networks);
}

/// What is bound to this chassis; and what is plugged in here, whoever it is bound to: so its row
/// is still seen when ovn-controller lets go of it, and is gone only when Neutron has deleted it.
json OvnFeed::clauses_for_ports() const {
  json clauses = json::array();
  if (!chassis_uuid_.empty()) {
    const auto uuid = uuid_value(chassis_uuid_);
    clauses.push_back(clause("chassis", "==", uuid));
    clauses.push_back(clause("additional_chassis", "includes", uuid));
  }
  for (const auto& [port, rows] : tap_rows_) {
    clauses.push_back(clause("logical_port", "==", port));
    clauses.push_back(clause("parent_port", "==", port));
  }
  return clauses.empty() ? no_rows() : clauses;
}

void OvnFeed::southbound_changed(const OvsdbClient::Changes& changes) {
  Names touched;
  choose_rows();
  if (std::exchange(rebuild_, false)) {
    note_everything(touched);
  }
  for (const auto& [table, uuid] : changes) {
    if (table == "Port_Binding") {
      note_binding(uuid, touched);
    } else if (table == "Datapath_Binding") {
      note_datapath(uuid, touched);
    }
  }
  choose_rows();
  commit(std::move(touched));
  if (heartbeat_ && reporting_) {
    heartbeat_->look(bridge_);
  }
}

void OvnFeed::note_everything(Names& touched) {
  while (!bindings_.empty()) {
    forget_binding(std::string(bindings_.begin()->first), touched);
  }
  for (const auto& [uuid, row] : southbound_->rows("Port_Binding")) {
    note_binding(uuid, touched);
  }
  for (const auto& [id, port] : inventory_->ports) {
    touched.insert(id);
  }
}

void OvnFeed::note_interface(const std::string& uuid, Names& touched) {
  if (const auto old = taps_.find(uuid); old != taps_.end()) {
    const auto port = old->second.port;
    auto& rows = tap_rows_[port];
    rows.erase(uuid);
    if (rows.empty()) {
      tap_rows_.erase(port);
    }
    taps_.erase(old);
    touch(port, touched);
  }
  const auto& rows = local_->rows("Interface");
  const auto row = rows.find(uuid);
  if (row == rows.end()) {
    return;
  }
  if (auto tap = ovn_tap(row->second)) {
    touch(tap->port, touched);
    tap_rows_[tap->port].insert(uuid);
    taps_[uuid] = *std::move(tap);
  }
}

/// A port and those who depend on it: its subports.
void OvnFeed::touch(const std::string& port, Names& touched) const {
  touched.insert(port);
  if (const auto children = children_.find(port); children != children_.end()) {
    touched.insert(children->second.begin(), children->second.end());
  }
}

void OvnFeed::forget_binding(const std::string& uuid, Names& touched) {
  const auto found = bindings_.find(uuid);
  if (found == bindings_.end()) {
    return;
  }
  const auto old = std::move(found->second);
  bindings_.erase(found);
  touch(old.port, touched);
  const auto leave = [](auto& map, const std::string& key, const std::string& member) {
    if (const auto group = map.find(key); group != map.end()) {
      group->second.erase(member);
      if (group->second.empty()) {
        map.erase(group);
      }
    }
  };
  leave(datapath_rows_, old.datapath, uuid);
  leave(children_, old.parent, old.port);
  if (const auto row = port_rows_.find(old.port); row != port_rows_.end() && row->second == uuid) {
    port_rows_.erase(row);
  }
}

void OvnFeed::note_binding(const std::string& uuid, Names& touched) {
  forget_binding(uuid, touched);
  skipped_.erase("Port_Binding " + uuid);
  const auto& rows = southbound_->rows("Port_Binding");
  const auto row = rows.find(uuid);
  if (row == rows.end() || !is_guest(row->second)) {
    return;
  }
  Binding binding{.port = ovsdb_text(row->second, "logical_port").value_or(""),
                  .datapath = ovsdb_uuid(row->second, "datapath").value_or(""),
                  .parent = ovsdb_text(row->second, "parent_port").value_or("")};
  if (binding.port.empty()) {
    skipped_["Port_Binding " + uuid] = {OvnSkipped::Reason::name, "it has no logical_port"};
    return;
  }
  touch(binding.port, touched);
  port_rows_[binding.port] = uuid;
  if (!binding.datapath.empty()) {
    datapath_rows_[binding.datapath].insert(uuid);
  }
  if (!binding.parent.empty()) {
    children_[binding.parent].insert(binding.port);
  }
  bindings_[uuid] = std::move(binding);
}

void OvnFeed::note_datapath(const std::string& uuid, Names& touched) {
  if (const auto rows = datapath_rows_.find(uuid); rows != datapath_rows_.end()) {
    for (const auto& row : rows->second) {
      touched.insert(bindings_.at(row).port);
    }
  }
}

std::optional<OvnFeed::Standing> OvnFeed::standing_of(const OvsdbRow& row,
                                                      const OvnTap* tap) const {
  const auto chassis = ovsdb_uuid(row, "chassis");
  if (!chassis_uuid_.empty()) {
    if (chassis == chassis_uuid_) {
      return Standing::bound;
    }
    if (includes(ovsdb_uuids(row, "additional_chassis"), chassis_uuid_)) {
      return Standing::additional;
    }
  }
  const auto requested = ovsdb_uuid(row, "requested_chassis");
  const bool for_another =
      requested && requested != chassis_uuid_ &&
      !includes(ovsdb_uuids(row, "requested_additional_chassis"), chassis_uuid_);
  if (chassis || for_another || tap == nullptr || !tap->present) {
    return std::nullopt;
  }
  return Standing::unbound;
}

const OvsdbRow* OvnFeed::row_of(std::string_view port) const {
  const auto uuid = port_rows_.find(port);
  if (uuid == port_rows_.end() || !southbound_) {
    return nullptr;
  }
  const auto& rows = southbound_->rows("Port_Binding");
  const auto row = rows.find(uuid->second);
  return row == rows.end() ? nullptr : &row->second;
}

const OvnTap* OvnFeed::tap_of(std::string_view port) const {
  const auto rows = tap_rows_.find(port);
  if (rows == tap_rows_.end()) {
    return nullptr;
  }
  const OvnTap* best = nullptr;
  for (const auto& row : rows->second) {
    const auto& tap = taps_.find(row)->second;
    // Two interfaces may carry one port for a moment; the device that exists is the one.
    if (best == nullptr || (tap.present && !best->present)) {
      best = &tap;
    }
  }
  return best;
}

bool OvnFeed::answers() const {
  return southbound_ && southbound_->health().connected;
}

/// Null: it is not here, or cannot be read.
std::shared_ptr<const Port> OvnFeed::port_of(const std::string& id) {
  return answers() ? told_port(id) : remembered_port(id);
}

std::shared_ptr<const Port> OvnFeed::remembered_port(const std::string& id) const {
  const auto before = told_->ports.find(id);
  if (before == told_->ports.end()) {
    return nullptr;
  }
  const auto* parent = parent_of(*before->second, told_->ports);
  return recalled({.before = *before->second,
                   .parent = parent,
                   .tap = tap_of(parent == nullptr ? id : parent->id),
                   .taps_known = local_->health().complete});
}

std::shared_ptr<const Port> OvnFeed::told_port(const std::string& id) {
  const auto was_skipped = skipped_.extract(id);
  const auto* row = row_of(id);
  if (row == nullptr) {
    return nullptr;
  }
  const auto& binding = bindings_.at(port_rows_.at(id));
  const bool is_subport = !binding.parent.empty();
  const auto* tap = tap_of(is_subport ? binding.parent : id);
  if (!standing_of(*row, tap)) {
    return nullptr;
  }
  static const OvsdbRow kNoDatapath;
  const auto& datapaths = southbound_->rows("Datapath_Binding");
  const auto datapath = datapaths.find(binding.datapath);
  auto port = ovn_port({.binding = *row,
                        .datapath = datapath == datapaths.end() ? kNoDatapath : datapath->second,
                        .parent = is_subport ? row_of(binding.parent) : nullptr,
                        .tap = tap});
  if (port) {
    return std::make_shared<const Port>(std::move(*port));
  }
  if (!was_skipped || was_skipped.mapped() != port.error()) {
    log::warn("ovn: Port_Binding {} is left out: {}", id, port.error().text);
  }
  skipped_[id] = std::move(port.error());
  return nullptr;
}

/// `touched` were looked at while OVN answered.
void OvnFeed::remember(const Names& touched) {
  if (auto told = kept_after(*told_, touched, *inventory_)) {
    told_ = std::move(told);
    memory_.keep(told_);
  } else {
    memory_.confirm();
  }
}

void OvnFeed::commit(Names touched) {
  if (!answers()) {
    // Open vSwitch still says who is plugged in; what OVN says of them is asked when it is back.
    pending_.insert(touched.begin(), touched.end());
    publish(heard_ ? touched : pending_);
    return;
  }
  pending_.merge(touched);
  if (rebuild_ || !southbound_->settled()) {
    return;  // what we know stays until we know all of what follows it
  }
  heard_ = true;
  const auto looked_at = std::exchange(pending_, {});
  publish(looked_at);
  remember(looked_at);
}

void OvnFeed::publish(const Names& touched) {
  // Whether an absent port is indeed absent is not known before ovn-controller has registered us.
  const bool first = !ready_ && !chassis_uuid_.empty() && answers();
  ready_ = ready_ || first;
  if (touched.empty() && !first) {
    return;
  }
  auto after = std::make_shared<Inventory>(*inventory_);
  InventoryChange change;
  const auto put = [](auto& table, auto& changed, const std::string& id, auto value) {
    const auto old = table.find(id);
    if (old == table.end() ? !value : value && *old->second == *value) {
      return;
    }
    changed.push_back(id);
    if (value) {
      table[id] = std::move(value);
    } else {
      table.erase(old);
    }
  };
  for (const auto& id : touched) {
    auto port = port_of(id);
    doubtful_.erase(id);
    if (port && port->device_id.empty()) {
      doubtful_.insert(id);
      ready_ = false;
    }
    if (port && !after->networks.contains(port->network_id)) {
      auto network = std::make_shared<Network>();
      network->id = port->network_id;
      put(after->networks, change.networks, port->network_id,
          std::shared_ptr<const Network>(std::move(network)));
    }
    put(after->ports, change.ports, id, std::move(port));
  }
  // Networks of which no port is left here.
  std::set<std::string_view> used;
  std::set<std::string> left;
  for (const auto& id : change.ports) {
    if (const auto old = inventory_->ports.find(id); old != inventory_->ports.end()) {
      left.insert(old->second->network_id);
    }
  }
  if (!left.empty()) {
    for (const auto& [id, port] : after->ports) {
      used.insert(port->network_id);
    }
    for (const auto& id : left) {
      if (!used.contains(id)) {
        put(after->networks, change.networks, id, std::shared_ptr<const Network>());
      }
    }
  }
  if (change.ports.empty() && change.networks.empty() && !first) {
    return;
  }
  ++after->revision;
  change.before = inventory_;
  change.after = after;
  inventory_ = after;
  for (const auto& listener : listeners_) {
    listener(change);
  }
}

}  // namespace metatap::agent
