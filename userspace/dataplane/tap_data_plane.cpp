// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tap_data_plane.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/log.hpp"
#include "dataplane/tap_resolver.hpp"
#include "sys/expedited_rcu.hpp"

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;

/// Events tell of changes at once; a look at everything finds what they did not.
constexpr std::chrono::seconds kLookInterval{5};

/// As mt_config::nsid: no namespace has this number. (Negative would be the packet's own.)
constexpr std::int32_t kNoNamespace = std::numeric_limits<std::int32_t>::max();

/// Sockets that would not go are tried again after so long.
constexpr std::chrono::seconds kSweepAgain{1};

/// From so many devices on, waiting for each attachment's grace period takes too long.
constexpr std::size_t kMany = 16;

template <std::size_t N>
void copy_text(char (&to)[N], std::string_view text) {
  std::memset(to, 0, N);
  std::memcpy(to, text.data(), std::min(text.size(), N - 1));
}

std::string pin_name(unsigned ifindex) {
  return fmt::format("tap_{}", ifindex);
}

mt_port_key key_of(unsigned ifindex, std::uint16_t vlan) {
  return mt_port_key{ifindex, vlan, 0};
}

}  // namespace

TapDataPlane::TapDataPlane(std::shared_ptr<Core> core, asio::io_context& control,
                           GuestFrontend& frontend)
    : core_(std::move(core)),
      frontend_(frontend),
      readable_(control),
      tick_(control),
      sweep_(control) {}

TapDataPlane::~TapDataPlane() {
  if (running_) {
    stop();
  }
}

Status TapDataPlane::start(std::shared_ptr<const Inventory> inventory) {
  auto& programs = *core_->programs;
  const auto& options = core_->options;
  const auto failed = [&](Error error) {
    stop();
    return tl::make_unexpected(std::move(error).in("tap data plane"));
  };
  running_ = true;
  auto config = programs.config();
  if (!config) {
    return failed(std::move(config.error()));
  }
  // Programs of an earlier process may be attached, and its namespace's number be another's soon.
  config->veth_ifindex = 0;
  config->nsid = kNoNamespace;
  if (auto written = programs.set_config(*config); !written) {
    return failed(std::move(written.error()));
  }
  auto made = MetadataNamespace::create(options.namespace_name);
  if (!made) {
    return failed(std::move(made.error()));
  }
  namespace_.emplace(*std::move(made));
  if (const auto able = namespace_->destroy_sockets_of({}); !able) {
    log::warn("tap data plane: {}; connections of a port that goes are left to their time-outs",
              able.error().message);
  }
  config->veth_ifindex = namespace_->host_ifindex();
  config->nsid = namespace_->nsid();
  if (auto written = programs.set_config(*config); !written) {
    return failed(std::move(written.error()));
  }
  auto return_path = TcAttachment::attach(programs.program("mt_return"), namespace_->host_ifindex(),
                                          options.attach, programs.links_path() / "return");
  if (!return_path) {
    return failed(std::move(return_path.error()).in(namespace_->host_device()));
  }
  return_path_.emplace(*std::move(return_path));
  if (auto opened = open_listeners(); !opened) {
    return failed(std::move(opened.error()));
  }

  // Subscribe first, then look: what happens in between is seen twice, not missed.
  auto monitor = sys::LinkMonitor::open();
  if (!monitor) {
    return failed(std::move(monitor.error()));
  }
  monitor_.emplace(*std::move(monitor));
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return failed(std::move(netlink.error()));
  }
  netlink_.emplace(*std::move(netlink));
  inventory_ = std::move(inventory);
  for (const auto& [id, port] : inventory_->ports) {
    want(id);
  }
  {
    const sys::ExpeditedRcu soon(wanted_places_.size() > kMany);
    look_at_all_links();
    settle_all();
    forget_leftovers();
  }
  readable_.assign(monitor_->fd());
  wait_for_links();
  wait_for_tick();
  log::info("tap data plane: {}; {} of {} ports here", where(), bindings_.size(),
            wanted_places_.size());
  return {};
}

Status TapDataPlane::open_listeners() {
  const auto resolver = std::make_shared<TapResolver>(core_->slots);
  for (const int family : {AF_INET, AF_INET6}) {
    if (family == AF_INET6 && !namespace_->has_v6()) {
      log::warn("tap data plane: no IPv6 on this kernel, guests reach 169.254.169.254 only");
      continue;
    }
    for (unsigned worker = 0; worker < frontend_.workers(); ++worker) {
      auto fd = namespace_->listen(family);
      if (!fd) {
        return tl::make_unexpected(std::move(fd.error()));
      }
      auto name = fmt::format("{}/{}:80#{}", namespace_->name(),
                              family == AF_INET ? "169.254.169.254" : "[fe80::a9fe:a9fe]", worker);
      listeners_.push_back(name);
      frontend_.open(GuestListener{*std::move(fd), std::move(name), resolver, worker});
    }
  }
  return {};
}

void TapDataPlane::stop(Leave leave) {
  running_ = false;
  tick_.cancel();
  sweep_.cancel();
  if (readable_.is_open()) {
    readable_.cancel();
    (void)readable_.release();  // the monitor owns it
  }
  monitor_.reset();
  for (const auto& name : std::exchange(listeners_, {})) {
    frontend_.close(name);
  }
  if (leave == Leave::steering) {
    for (auto& [ifindex, attachment] : attached_) {
      attachment.keep();
    }
    if (return_path_) {
      return_path_->keep();
    }
    attached_.clear();
    return_path_.reset();
    return;
  }
  const sys::ExpeditedRcu soon(attached_.size() > kMany);
  while (!bindings_.empty()) {
    unbind(bindings_.begin()->first);
  }
  attached_.clear();
  return_path_.reset();
  if (namespace_) {
    if (auto removed = namespace_->remove(); !removed) {
      log::warn("tap data plane: {}", removed.error().message);
    }
    namespace_.reset();
  }
}

// ---- inventory ----

void TapDataPlane::want(const std::string& port_id) {
  if (const auto old = wanted_places_.find(port_id); old != wanted_places_.end()) {
    auto& others = wanting_[old->second];
    others.erase(port_id);
    if (others.empty()) {
      wanting_.erase(old->second);
    }
    wanted_places_.erase(old);
  }
  const auto found = inventory_->ports.find(port_id);
  // Ports of routers and DHCP servers are not guests.
  if (found == inventory_->ports.end() || found->second->device_owner.starts_with("network:")) {
    return;
  }
  const Port& port = *found->second;
  Place place{port.device.value_or("tap" + port.id.substr(0, 11)),
              static_cast<std::uint16_t>(port.vlan.value_or(0))};
  wanting_[place].insert(port_id);
  wanted_places_.emplace(port_id, std::move(place));
}

std::optional<TapDataPlane::Claim> TapDataPlane::winner(const Place& place) const {
  const auto wanting = wanting_.find(place);
  if (wanting == wanting_.end()) {
    return std::nullopt;
  }
  // The one that has it keeps it.
  std::string_view id = *wanting->second.begin();
  if (const auto bound = bindings_.find(place);
      bound != bindings_.end() && wanting->second.contains(bound->second.port_id)) {
    id = bound->second.port_id;
  }
  const auto port = inventory_->ports.find(id);
  if (port == inventory_->ports.end()) {
    return std::nullopt;
  }
  const auto network = inventory_->networks.find(port->second->network_id);
  return Claim{port->second,
               port->second->admin_state_up &&
                   (network == inventory_->networks.end() || network->second->admin_state_up)};
}

void TapDataPlane::apply(const InventoryChange& change) {
  if (!running_) {
    return;
  }
  inventory_ = change.after;
  std::set<Place> touched;
  const auto touch = [&](const std::string& port_id) {
    if (const auto place = wanted_places_.find(port_id); place != wanted_places_.end()) {
      touched.insert(place->second);
    }
  };
  for (const auto& id : change.ports) {
    touch(id);
    want(id);
    touch(id);
  }
  if (!change.networks.empty()) {
    const std::set<std::string_view> networks(change.networks.begin(), change.networks.end());
    for (const auto& [id, place] : wanted_places_) {
      const auto port = inventory_->ports.find(id);
      if (port != inventory_->ports.end() && networks.contains(port->second->network_id)) {
        touched.insert(place);
      }
    }
  }
  // First let go, then take: an address or device may have moved from one port to another.
  for (const auto& place : touched) {
    if (const auto bound = bindings_.find(place); bound != bindings_.end()) {
      const auto claim = winner(place);
      if (!claim || claim->port->id != bound->second.port_id) {
        unbind(place);
      }
    }
  }
  std::set<std::string> devices;
  for (const auto& place : touched) {
    settle(place);
    devices.insert(place.first);
  }
  for (const auto& device : devices) {
    settle_device(device);
  }
}

// ---- devices ----

void TapDataPlane::wait_for_links() {
  readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error || !running_) {
                           return;
                         }
                         on_links();
                         wait_for_links();
                       });
}

void TapDataPlane::wait_for_tick() {
  tick_.expires_after(kLookInterval);
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (error || !running_) {
      return;
    }
    look_at_all_links();
    settle_all();
    wait_for_tick();
  });
}

void TapDataPlane::on_links() {
  auto batch = monitor_->read();
  if (!batch) {
    log::warn("tap data plane: {}", batch.error().message);
    return;
  }
  std::set<std::string> touched;
  for (const auto& event : batch->events) {
    // Both names, should it be a rename.
    if (const auto old = name_of_.find(event.link.index); old != name_of_.end()) {
      touched.insert(old->second);
    }
    touched.insert(event.link.name);
    if (event.removed) {
      device_gone(event.link.index);
    } else {
      device_here(event.link);
    }
  }
  if (batch->lost) {
    look_at_all_links();
    settle_all();
    return;
  }
  for (const auto& name : touched) {
    for (auto place = wanting_.lower_bound({name, 0});
         place != wanting_.end() && place->first.first == name; ++place) {
      settle(place->first);
    }
    settle_device(name);
  }
}

void TapDataPlane::look_at_all_links() {
  const auto links = netlink_->links();
  if (!links) {
    log::warn("tap data plane: {}", links.error().message);
    return;
  }
  std::set<unsigned> here;
  for (const auto& link : *links) {
    here.insert(link.index);
  }
  std::vector<unsigned> gone;
  for (const auto& [ifindex, name] : name_of_) {
    if (!here.contains(ifindex)) {
      gone.push_back(ifindex);
    }
  }
  for (const auto& [ifindex, attachment] : attached_) {
    if (!attachment.alive()) {
      gone.push_back(ifindex);  // its device went, and another has its number now
    }
  }
  for (const unsigned ifindex : gone) {
    device_gone(ifindex);
  }
  for (const auto& link : *links) {
    device_here(link);
  }
}

std::string TapDataPlane::why_foreign(const Place& place, const Port& port) const {
  const auto device = ifindex_of_.find(place.first);
  auto why =
      device == ifindex_of_.end() ? std::string() : guest_macs_.why_foreign(device->second, port);
  if (why.empty() || place.second == 0) {
    return why;
  }
  // A trunk's device has the MAC of its untagged port; the others on it stand and fall with that.
  const Place untagged{place.first, 0};
  const auto trunk = winner(untagged);
  return trunk ? why_foreign(untagged, *trunk->port) : std::string();
}

void TapDataPlane::device_here(const sys::Link& link) {
  guest_macs_.note(link);
  if (const auto known = name_of_.find(link.index); known != name_of_.end()) {
    if (known->second == link.name) {
      return;
    }
    device_gone(link.index);  // renamed: what it was by name it is no longer
    guest_macs_.note(link);
  }
  if (const auto other = ifindex_of_.find(link.name); other != ifindex_of_.end()) {
    device_gone(other->second);
  }
  name_of_[link.index] = link.name;
  ifindex_of_[link.name] = link.index;
}

void TapDataPlane::device_gone(unsigned ifindex) {
  // Identity first, then everything else.
  std::vector<Place> lost;
  for (const auto& [place, binding] : bindings_) {
    if (binding.ifindex == ifindex) {
      lost.push_back(place);
    }
  }
  for (const auto& place : lost) {
    unbind(place);
  }
  attached_.erase(ifindex);
  guest_macs_.forget(ifindex);
  if (const auto name = name_of_.find(ifindex); name != name_of_.end()) {
    attach_errors_.erase(name->second);
    if (const auto index = ifindex_of_.find(name->second);
        index != ifindex_of_.end() && index->second == ifindex) {
      ifindex_of_.erase(index);
    }
    name_of_.erase(name);
  }
}

// ---- desired and actual ----

void TapDataPlane::settle_all() {
  std::vector<Place> unwanted;
  for (const auto& [place, binding] : bindings_) {
    if (!wanting_.contains(place)) {
      unwanted.push_back(place);
    }
  }
  for (const auto& place : unwanted) {
    settle(place);
  }
  for (const auto& [place, ports] : wanting_) {
    settle(place);
  }
  const auto devices = ifindex_of_;
  for (const auto& [name, ifindex] : devices) {
    settle_device(name);
  }
}

void TapDataPlane::settle(const Place& place) {
  const auto claim = winner(place);
  const auto device = ifindex_of_.find(place.first);
  const unsigned ifindex =
      device == ifindex_of_.end() || !core_->options.may_steer(place.first) ? 0 : device->second;
  const auto foreign = claim ? why_foreign(place, *claim->port) : std::string();
  if (const auto bound = bindings_.find(place); bound != bindings_.end()) {
    auto& binding = bound->second;
    if (!claim || !foreign.empty() || ifindex != binding.ifindex ||
        claim->port->id != binding.port_id || claim->port->network_id != binding.network_id ||
        claim->enabled != binding.enabled) {
      unbind(place);
    } else {
      auto [wanted, addresses] = describe(place, *claim, ifindex);
      if (auto updated = core_->slots->update(binding.slot, wanted.row, std::move(addresses));
          !updated) {
        if (binding.note != updated.error().message) {
          log::warn("tap {}: {}", place.first, updated.error().message);
        }
        wanted.note = std::move(updated.error().message);
      }
      wanted.slot = binding.slot;
      binding = std::move(wanted);
    }
  }
  bind_errors_.erase(place);
  if (foreign.empty()) {
    refused_.erase(place);
  } else if (auto& told = refused_[place]; told != foreign) {
    log::warn("tap {}: not port {}'s: {}", place.first, claim->port->id, foreign);
    told = foreign;
  }
  if (claim && foreign.empty() && ifindex != 0 && !bindings_.contains(place)) {
    bind(place, *claim, ifindex);
  }
}

void TapDataPlane::settle_device(const std::string& name) {
  const auto device = ifindex_of_.find(name);
  if (device == ifindex_of_.end() || (namespace_ && name == namespace_->host_device())) {
    return;
  }
  const unsigned ifindex = device->second;
  const auto bound = bindings_.lower_bound({name, 0});
  const bool wanted = (bound != bindings_.end() && bound->first.first == name) ||
                      (core_->options.devices && core_->options.may_steer(name));
  attach_errors_.erase(name);
  if (auto done = set_attached(ifindex, wanted); !done) {
    log::warn("tap {}: {}", name, done.error().message);
    attach_errors_[name] = std::move(done.error().message);
  }
}

Status TapDataPlane::set_attached(unsigned ifindex, bool wanted) {
  const auto attachment = attached_.find(ifindex);
  if (wanted == (attachment != attached_.end())) {
    return {};
  }
  if (!wanted) {
    attached_.erase(attachment);
    return {};
  }
  auto& programs = *core_->programs;
  auto made = TcAttachment::attach(programs.program("mt_tap"), ifindex, core_->options.attach,
                                   programs.links_path() / pin_name(ifindex));
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  attached_.emplace(ifindex, *std::move(made));
  return {};
}

std::pair<TapDataPlane::Binding, PortAddresses> TapDataPlane::describe(const Place& place,
                                                                       const Claim& claim,
                                                                       unsigned ifindex) const {
  const Port& port = *claim.port;
  auto addresses = PortAddresses::of(port);
  Binding binding;
  binding.port_id = port.id;
  binding.network_id = port.network_id;
  binding.enabled = claim.enabled;
  binding.ifindex = ifindex;
  mt_slot& row = binding.row;
  row.kind = MT_KIND_TAP;
  row.ifindex = ifindex;
  row.vlan = place.second;
  if (!claim.enabled) {
    row.flags |= MT_SLOT_DISABLED;
  }
  if (core_->options.when_down == WhenDown::refuse) {
    row.flags |= MT_SLOT_REFUSE_DOWN;
  }
  if (port.address_policy == AddressPolicy::learn) {
    row.flags |= MT_SLOT_LEARN;
  }
  if (!addresses.networks.empty()) {
    row.flags |= MT_SLOT_PREFIXES;
  }
  if (addresses.any_mac) {
    row.flags |= MT_SLOT_ANY_MAC;
  }
  if (const auto mac = sys::parse_mac(port.mac_address)) {
    std::ranges::copy(*mac, row.mac);
  }
  copy_text(row.device, place.first);
  copy_text(row.port_id, port.id);
  copy_text(row.network_id, port.network_id);

  if (addresses.left_out != 0) {
    binding.note = fmt::format("{} of its addresses may not ask: there is room for {} a family",
                               addresses.left_out, MT_FIRST_LEARNED - 1);
  }
  return {std::move(binding), std::move(addresses)};
}

void TapDataPlane::bind(const Place& place, const Claim& claim, unsigned ifindex) {
  auto& programs = *core_->programs;
  auto [binding, addresses] = describe(place, claim, ifindex);
  auto origin = std::make_shared<Origin>();
  origin->path = Path::tap;
  origin->port_id = binding.port_id;
  origin->network_id = binding.network_id;
  origin->device = place.first;
  const auto key = key_of(ifindex, place.second);
  const auto give_up = [&](Error error) {
    log::warn("tap {}: {}", place.first, error.message);
    bind_errors_[place] = std::move(error.message);
  };

  // A row that an earlier process left for the same port on the same device goes on.
  std::uint32_t pinned = 0;
  if (::bpf_map_lookup_elem(programs.map("mt_ports"), &key, &pinned) == 0) {
    const auto row = core_->slots->read(pinned);
    const bool same = row && row->kind == MT_KIND_TAP && row->ifindex == ifindex &&
                      row->vlan == place.second &&
                      std::string_view(row->port_id) == binding.port_id &&
                      std::string_view(row->network_id) == binding.network_id &&
                      std::string_view(row->device) == place.first;
    if (same && core_->slots->adopt(pinned, binding.row, origin, addresses)) {
      binding.slot = pinned;
    } else {
      ::bpf_map_delete_elem(programs.map("mt_ports"), &key);
    }
  }
  if (binding.slot == 0) {
    auto slot = core_->slots->add(binding.row, origin, std::move(addresses));
    if (!slot) {
      return give_up(std::move(slot.error()));
    }
    binding.slot = *slot;
    if (::bpf_map_update_elem(programs.map("mt_ports"), &key, &binding.slot, BPF_ANY) != 0) {
      auto error = errno_error(errno, "write mt_ports");
      retire(binding.slot);
      return give_up(std::move(error));
    }
  }
  if (auto done = set_attached(ifindex, true); !done) {
    ::bpf_map_delete_elem(programs.map("mt_ports"), &key);
    retire(binding.slot);
    return give_up(std::move(done.error()));
  }
  log::debug("tap {}: port {} is slot {}", place.first, binding.port_id, binding.slot);
  bindings_.emplace(place, std::move(binding));
}

void TapDataPlane::unbind(const Place& place) {
  const auto bound = bindings_.find(place);
  if (bound == bindings_.end()) {
    return;
  }
  const auto key = key_of(bound->second.ifindex, place.second);
  ::bpf_map_delete_elem(core_->programs->map("mt_ports"), &key);
  retire(bound->second.slot);
  log::debug("tap {}: slot {} is free", place.first, bound->second.slot);
  bindings_.erase(bound);
}

/// Nobody's any more, at once; its number rests when its sockets are gone, too. Those are looked
/// for once for all that went in this turn of the control thread.
void TapDataPlane::retire(std::uint32_t slot) {
  core_->slots->remove(slot);
  retired_.insert(slot);
  if (running_ && retired_.size() == 1) {
    sweep_after(std::chrono::seconds(0));
  }
}

void TapDataPlane::sweep_after(std::chrono::seconds delay) {
  sweep_.expires_after(delay);
  sweep_.async_wait([this](const boost::system::error_code& error) {
    if (error || !running_) {
      return;
    }
    if (!rest_if_silent(*core_->slots, retired_, namespace_->destroy_sockets_of(retired_),
                        namespace_->name())) {
      sweep_after(kSweepAgain);
    }
  });
}

/// What an earlier process left and nobody claims now.
void TapDataPlane::forget_leftovers() {
  auto& programs = *core_->programs;
  std::set<std::pair<unsigned, unsigned>> live;
  for (const auto& [place, binding] : bindings_) {
    live.emplace(binding.ifindex, place.second);
  }
  const int ports = programs.map("mt_ports");
  std::vector<mt_port_key> stale;
  mt_port_key key{};
  for (const mt_port_key* previous = nullptr; ::bpf_map_get_next_key(ports, previous, &key) == 0;
       previous = &key) {
    std::uint32_t slot = 0;
    ::bpf_map_lookup_elem(ports, &key, &slot);
    const auto row = core_->slots->read(slot);
    const bool tap = !row || row->kind == MT_KIND_TAP || row->kind == MT_KIND_FREE;
    if (tap && !live.contains({key.ifindex, key.vlan})) {
      stale.push_back(key);
    }
  }
  for (const auto& old : stale) {
    ::bpf_map_delete_elem(ports, &old);
  }
  core_->slots->drop_orphans([](const mt_slot& row) { return row.kind == MT_KIND_TAP; });
  std::error_code error;
  std::vector<fs::path> pins;
  for (fs::directory_iterator it(programs.links_path(), error), end; !error && it != end;
       it.increment(error)) {
    pins.push_back(it->path());
  }
  for (const auto& pin : pins) {
    const auto name = pin.filename().string();
    if (name.starts_with("tap_") && std::ranges::none_of(attached_, [&](const auto& entry) {
          return pin_name(entry.first) == name;
        })) {
      fs::remove(pin, error);
    }
  }
}

// ---- status ----

std::vector<DeviceStatus> TapDataPlane::devices() const {
  std::vector<DeviceStatus> all;
  const auto attach_of = [&](unsigned ifindex) -> std::string {
    const auto found = attached_.find(ifindex);
    return found == attached_.end() ? "" : std::string(found->second.kind());
  };
  for (const auto& [place, ports] : wanting_) {
    const auto bound = bindings_.find(place);
    for (const auto& id : ports) {
      DeviceStatus status;
      status.name = place.first;
      status.vlan = place.second;
      status.port_id = id;
      const auto port = inventory_->ports.find(id);
      if (port != inventory_->ports.end()) {
        status.network_id = port->second->network_id;
      }
      if (const auto device = ifindex_of_.find(place.first); device != ifindex_of_.end()) {
        status.ifindex = device->second;
      }
      status.attach = attach_of(status.ifindex);
      const auto error = bind_errors_.find(place);
      const auto foreign =
          port == inventory_->ports.end() ? std::string() : why_foreign(place, *port->second);
      if (bound != bindings_.end() && bound->second.port_id == id) {
        status.slot = bound->second.slot;
        status.state = bound->second.enabled ? "steered" : "disabled";
        status.reason = bound->second.enabled
                            ? bound->second.note
                            : "admin_state_up is false on the port or its network";
      } else if (!foreign.empty()) {
        status.state = "refused";
        status.reason = foreign;
      } else if (bound != bindings_.end()) {
        status.state = "conflict";
        status.reason = "port " + bound->second.port_id + " has this device already";
      } else if (error != bind_errors_.end()) {
        status.state = "error";
        status.reason = error->second;
      } else if (status.ifindex == 0) {
        status.state = "absent";
        status.reason = "no device named " + place.first;
      } else if (!core_->options.may_steer(place.first)) {
        status.state = "excluded";
        status.reason = "[dataplane] devices does not match it";
      } else {
        status.state = "conflict";
        status.reason = "another port claims this device";
      }
      all.push_back(std::move(status));
    }
  }
  for (const auto& [ifindex, attachment] : attached_) {
    const auto name = name_of_.find(ifindex);
    if (name == name_of_.end()) {
      continue;
    }
    const auto wanting = wanting_.lower_bound({name->second, 0});
    if (wanting == wanting_.end() || wanting->first.first != name->second) {
      DeviceStatus status;
      status.name = name->second;
      status.ifindex = ifindex;
      status.attach = attachment.kind();
      status.state = "unclaimed";
      status.reason = "no port of the inventory has this device; its metadata requests are refused";
      all.push_back(std::move(status));
    }
  }
  for (const auto& [name, message] : attach_errors_) {
    DeviceStatus status;
    status.name = name;
    status.state = "error";
    status.reason = message;
    all.push_back(std::move(status));
  }
  return all;
}

std::vector<SlotStatus> TapDataPlane::slots() const {
  std::vector<SlotStatus> all;
  const auto& programs = *core_->programs;
  for (const auto& [place, binding] : bindings_) {
    SlotStatus status;
    status.slot = binding.slot;
    status.port_id = binding.port_id;
    status.device = place.first;
    ::bpf_map_lookup_elem(programs.map("mt_counters"), &binding.slot, &status.counter);
    for (std::uint32_t reason = 0; reason < MT_REASONS; ++reason) {
      const mt_slot_reason key{binding.slot, reason};
      std::uint64_t count = 0;
      if (::bpf_map_lookup_elem(programs.map("mt_slot_reasons"), &key, &count) == 0) {
        status.reasons.emplace(dataplane::reasons()[reason].name, count);
      }
    }
    all.push_back(std::move(status));
  }
  return all;
}

std::vector<ReasonStatus> TapDataPlane::reasons() const {
  return count_reasons(*core_->programs);
}

std::string TapDataPlane::where() const {
  return fmt::format("namespace {}, maps {}, attach {}", core_->options.namespace_name,
                     core_->options.pin_path.string(),
                     return_path_ ? return_path_->kind() : "nothing");
}

}  // namespace metatap::dataplane
