// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_feed.hpp"

#include <algorithm>
#include <charconv>

#include "agent/place.hpp"
#include "base/log.hpp"
#include "base/option_reader.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;

constexpr std::string_view kNeutronPrefix = "neutron-";

json no_rows() {
  return json::array({false});
}

json uuid_value(const std::string& uuid) {
  return json::array({"uuid", uuid});
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all;
  while (!text.empty()) {
    const auto end = text.find(' ');
    if (end != 0) {
      all.emplace_back(text.substr(0, end));
    }
    if (end == std::string_view::npos) {
      break;
    }
    text.remove_prefix(end + 1);
  }
  return all;
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

/// The network Neutron named the datapath after; empty if it named it not.
std::string network_of(const OvsdbRow& datapath) {
  auto name = ovsdb_entry(datapath, "external_ids", "name").value_or("");
  if (name.starts_with(kNeutronPrefix)) {
    name.erase(0, kNeutronPrefix.size());
  }
  return name;
}

}  // namespace

Result<OvnOptions> OvnOptions::from(const Config& config) {
  OvnOptions options;
  OptionReader read(config);
  std::string local = "unix:/var/run/openvswitch/db.sock";
  std::string southbound;
  read.text({"ovs", "ovsdb_connection", "The host's Open vSwitch database: unix:, tcp: or ssl:"},
            local);
  read.text({"ovs", "ssl_key_file", "Private key for ssl:"}, options.local.private_key);
  read.text({"ovs", "ssl_cert_file", "Certificate for ssl:"}, options.local.certificate);
  read.text({"ovs", "ssl_ca_cert_file", "CA certificates for ssl:"}, options.local.ca_cert);
  read.text({"ovn", "ovn_sb_connection",
             "Members of OVN's southbound database; empty: as external_ids:ovn-remote has them"},
            southbound);
  read.text({"ovn", "ovn_sb_private_key", "Private key for ssl:"}, options.southbound.private_key);
  read.text({"ovn", "ovn_sb_certificate", "Certificate for ssl:"}, options.southbound.certificate);
  read.text({"ovn", "ovn_sb_ca_cert", "CA certificates for ssl:"}, options.southbound.ca_cert);
  read.milliseconds(
      {"ovn", "ovsdb_probe_interval", "A silent server is asked for a sign of life after so long"},
      options.local.probe, 1'000, 3'600'000);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  options.southbound.probe = options.local.probe;
  options.local.remotes = comma_separated(local);
  options.local.database = "Open_vSwitch";
  options.southbound.remotes = comma_separated(southbound);
  options.southbound.database = "OVN_Southbound";
  return options;
}

OvnFeed::OvnFeed(boost::asio::io_context& context, OvnOptions options)
    : context_(context), options_(std::move(options)), remotes_(options_.southbound.remotes) {}

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
  local_->start();
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
    log::warn("ovn: no ports yet: the local database is {}, the southbound one {}, chassis '{}' {}",
              local_->health().connected ? "connected" : "not connected",
              southbound_ && southbound_->health().connected ? "connected" : "not connected",
              chassis_, chassis_uuid_.empty() ? "is not registered" : "is registered");
  }
}

OvnFeed::Health OvnFeed::health() const {
  return {.local = local_->health(),
          .southbound = southbound_ ? southbound_->health() : OvsdbClient::Health(),
          .chassis = chassis_,
          .registered = !chassis_uuid_.empty(),
          .ports = inventory_->ports.size(),
          .skipped = skipped_};
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
    if (auto name = ovsdb_entry(row, "external_ids", "system-id"); name && *name != chassis_) {
      chassis_ = std::move(*name);
      log::info("ovn: this chassis is {}", chassis_);
    }
    if (options_.southbound.remotes.empty()) {
      auto remotes = comma_separated(ovsdb_entry(row, "external_ids", "ovn-remote").value_or(""));
      if (!remotes.empty() && remotes != remotes_) {
        remotes_ = std::move(remotes);
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
  if (southbound_ || remotes_.empty() || chassis_.empty()) {
    return;
  }
  auto options = options_.southbound;
  options.remotes = remotes_;
  std::map<std::string, OvsdbMonitor> tables;
  tables["Chassis"].columns = {"name"};
  tables["Chassis"].where = no_rows();
  tables["Port_Binding"].columns = {"logical_port",       "type",        "chassis",
                                    "additional_chassis", "mac",         "datapath",
                                    "external_ids",       "parent_port", "tag"};
  tables["Port_Binding"].where = no_rows();
  tables["Datapath_Binding"].columns = {"external_ids"};
  tables["Datapath_Binding"].where = no_rows();
  auto client = OvsdbClient::create(
      context_, std::move(options), std::move(tables),
      [this](const OvsdbClient::Changes& changes) { southbound_changed(changes); });
  if (!client) {
    log::error("ovn: external_ids:ovn-remote: {}", client.error().message);
    return;
  }
  southbound_ = std::move(*client);
  choose_rows();
  southbound_->start();
}

/// Asks for the rows that concern this chassis, and no others. A narrower question follows from
/// the answer to a wider one: our name, then our ports, then their networks.
void OvnFeed::choose_rows() {
  if (!southbound_) {
    return;
  }
  southbound_->where("Chassis", json::array({json::array({"name", "==", chassis_})}));
  chassis_uuid_.clear();
  for (const auto& [uuid, row] : southbound_->rows("Chassis")) {
    if (ovsdb_text(row, "name") == chassis_) {
      chassis_uuid_ = uuid;
    }
  }
  if (chassis_uuid_.empty()) {
    southbound_->where("Port_Binding", no_rows());
  } else {
    const auto uuid = uuid_value(chassis_uuid_);
    southbound_->where("Port_Binding",
                       json::array({json::array({"chassis", "==", uuid}),
                                    json::array({"additional_chassis", "includes", uuid})}));
  }
  json networks = json::array();
  for (const auto& [datapath, rows] : datapath_rows_) {
    networks.push_back(json::array({"_uuid", "==", uuid_value(datapath)}));
  }
  southbound_->where("Datapath_Binding", networks.empty() ? no_rows() : networks);
}

void OvnFeed::southbound_changed(const OvsdbClient::Changes& changes) {
  Names touched;
  const auto known_as = chassis_uuid_;
  choose_rows();
  if (chassis_uuid_.empty()) {
    // Nobody here: ovn-controller has not registered this chassis yet, or it is being replaced.
    rebuild_ = true;
    return;
  }
  if (rebuild_ || known_as != chassis_uuid_) {
    rebuild_ = false;
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
  for (const auto& [table, uuid] : changes) {
    if (table == "Port_Binding") {
      note_binding(uuid, touched);
    } else if (table == "Datapath_Binding") {
      note_datapath(uuid, touched);
    }
  }
  choose_rows();
  commit(std::move(touched));
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
  auto port = ovsdb_entry(row->second, "external_ids", "iface-id");
  auto name = ovsdb_text(row->second, "name");
  if (!port || port->empty() || !name || name->empty()) {
    return;  // most interfaces belong to nobody: bridges, tunnels, uplinks
  }
  touch(*port, touched);
  tap_rows_[*port].insert(uuid);
  taps_[uuid] = {std::move(*port), std::move(*name),
                 ovsdb_integer(row->second, "ifindex").value_or(0) > 0};
}

/// A port and those whose device follows from its.
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
  touched.insert(old.port);
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
  if (row == rows.end() || !bound_here(row->second)) {
    return;
  }
  const bool guest = !row->second.contains("type") || ovsdb_text(row->second, "type") == "" ||
                     ovsdb_text(row->second, "type") == "external";
  if (!guest) {
    return;  // patches, tunnels and the metadata port itself: not guests
  }
  Binding binding{.port = ovsdb_text(row->second, "logical_port").value_or(""),
                  .datapath = ovsdb_uuid(row->second, "datapath").value_or(""),
                  .parent = ovsdb_text(row->second, "parent_port").value_or("")};
  if (binding.port.empty()) {
    skipped_["Port_Binding " + uuid] = "it has no logical_port";
    return;
  }
  touched.insert(binding.port);
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

bool OvnFeed::bound_here(const OvsdbRow& row) const {
  if (chassis_uuid_.empty()) {
    return false;
  }
  if (ovsdb_uuid(row, "chassis") == chassis_uuid_) {
    return true;
  }
  const auto additional = ovsdb_uuids(row, "additional_chassis");
  return std::ranges::find(additional, chassis_uuid_) != additional.end();
}

const OvnFeed::Tap* OvnFeed::tap_of(std::string_view port) const {
  const auto rows = tap_rows_.find(port);
  if (rows == tap_rows_.end()) {
    return nullptr;
  }
  const Tap* best = nullptr;
  for (const auto& row : rows->second) {
    const auto& tap = taps_.find(row)->second;
    // Two interfaces may carry one port for a moment; the device that exists is the one.
    if (best == nullptr || (tap.present && !best->present)) {
      best = &tap;
    }
  }
  return best;
}

/// The port of a Port_Binding row; null when its network is not known yet.
Result<std::shared_ptr<const Port>> OvnFeed::port_of(const std::string& uuid) const {
  const auto& rows = southbound_->rows("Port_Binding");
  const auto found = rows.find(uuid);
  if (found == rows.end()) {
    return std::shared_ptr<const Port>();
  }
  const auto& row = found->second;
  const auto& binding = bindings_.find(uuid)->second;
  if (binding.datapath.empty()) {
    return fail(ErrorCode::invalid, "it has no datapath");
  }
  const auto& datapaths = southbound_->rows("Datapath_Binding");
  const auto datapath = datapaths.find(binding.datapath);
  if (datapath == datapaths.end()) {
    return std::shared_ptr<const Port>();
  }
  auto port = std::make_shared<Port>();
  port->id = binding.port;
  port->network_id = network_of(datapath->second);
  if (port->network_id.empty()) {
    return fail(ErrorCode::invalid, "its Datapath_Binding has no external_ids:name");
  }
  port->device_id = ovsdb_entry(row, "external_ids", "neutron:device_id").value_or("");
  port->project_id = ovsdb_entry(row, "external_ids", "neutron:project_id").value_or("");
  port->device_owner = ovsdb_entry(row, "external_ids", "neutron:device_owner").value_or("");
  if (port->device_id.empty()) {
    return fail(ErrorCode::invalid, "it has no external_ids:neutron:device_id");
  }
  const auto macs = ovsdb_texts(row, "mac");
  const auto first = macs.empty() ? std::vector<std::string>() : words(macs.front());
  const auto mac = first.empty() ? std::nullopt : Locator::of_mac(first.front());
  if (!mac) {
    return fail(ErrorCode::invalid, macs.empty() ? "its mac column is empty"
                                                 : "its mac column begins with '" + macs.front() +
                                                       "', not with an address");
  }
  port->mac_address = mac->str();
  for (std::size_t at = 1; at < first.size(); ++at) {
    if (const auto address = Locator::of_fixed_ip(first[at])) {
      port->fixed_ips.push_back({.subnet_id = {}, .ip_address = address->str()});
    }
  }
  for (std::size_t at = 1; at < macs.size(); ++at) {
    const auto pair = words(macs[at]);
    const auto pair_mac = pair.empty() ? std::nullopt : Locator::of_mac(pair.front());
    for (std::size_t which = 1; pair_mac && which < pair.size(); ++which) {
      port->allowed_address_pairs.push_back({pair[which], pair_mac->str()});
    }
  }
  if (!binding.parent.empty()) {
    const auto tag = ovsdb_integer(row, "tag");
    if (!tag || *tag < 1 || *tag > 4094) {
      return fail(ErrorCode::invalid, "it has a parent_port but no usable tag");
    }
    port->vlan = static_cast<int>(*tag);
  }
  if (const auto* tap = tap_of(binding.parent.empty() ? binding.port : binding.parent)) {
    port->device = tap->name;
  }
  return std::shared_ptr<const Port>(std::move(port));
}

void OvnFeed::commit(Names touched) {
  pending_.merge(touched);
  if (rebuild_ || !southbound_ || !southbound_->settled() || chassis_uuid_.empty()) {
    return;  // what we know stays until we know all of what follows it
  }
  touched = std::exchange(pending_, {});
  const bool first = !std::exchange(ready_, true);
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
    std::shared_ptr<const Port> port;
    const auto was_skipped = skipped_.extract(id);
    if (const auto row = port_rows_.find(id); row != port_rows_.end()) {
      auto made = port_of(row->second);
      if (made) {
        port = std::move(*made);
      } else {
        if (!was_skipped || was_skipped.mapped() != made.error().message) {
          log::warn("ovn: Port_Binding {} is left out: {}", id, made.error().message);
        }
        skipped_[id] = made.error().message;
      }
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
