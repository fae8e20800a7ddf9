// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_data_plane.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/log.hpp"
#include "dataplane/guest_socket.hpp"

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using std::chrono::steady_clock;

/// Events tell of changes at once; a slow walk over everything finds what they did not.
constexpr std::chrono::seconds kTick{1};
constexpr std::size_t kTicksAround = 30;
/// A name appears a moment before its namespace is mounted there.
constexpr unsigned kTries = 12;
/// So many namespaces at once are worth short grace periods and lines about progress.
constexpr std::size_t kMany = 8, kVeryMany = 50;
/// Handshakes that have begun are over by then, and accepted.
constexpr std::chrono::milliseconds kArrival{50};
constexpr const char* kExpedited = "/sys/kernel/rcu_expedited";

template <std::size_t N>
void copy_text(char (&to)[N], std::string_view text) {
  std::memset(to, 0, N);
  std::memcpy(to, text.data(), std::min(text.size(), N - 1));
}

mt_source_key key_of(std::uint32_t device_slot, std::uint32_t family, const std::uint8_t* bytes,
                     std::size_t size) {
  mt_source_key key{};
  key.device_slot = device_slot;
  key.family = family;
  std::memcpy(key.address, bytes, size);
  return key;
}

template <class Key>
void clear_map(int map) {
  Key key{};
  while (::bpf_map_get_next_key(map, nullptr, &key) == 0) {
    if (::bpf_map_delete_elem(map, &key) != 0) {
      return;
    }
  }
}

bool is_router_row(const mt_slot& row) {
  return row.kind == MT_KIND_ROUTER_DEVICE || row.kind == MT_KIND_ROUTER_PORT;
}

struct Inside {
  explicit Inside(bool& flag) : flag_(flag) { flag_ = true; }
  ~Inside() { flag_ = false; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  bool& flag_;
};

}  // namespace

Result<RouterOptions> RouterOptions::from(const Config& config) {
  RouterOptions options;
  auto enabled = config.boolean("dataplane", "routers", options.enabled);
  auto expedite = config.boolean("dataplane", "expedite_rcu", options.expedite_rcu);
  auto run_path = config.text("DEFAULT", "run_path", "/run/metatap");
  if (!enabled) {
    return tl::make_unexpected(std::move(enabled.error()));
  }
  if (!expedite) {
    return tl::make_unexpected(std::move(expedite.error()));
  }
  if (!run_path) {
    return tl::make_unexpected(std::move(run_path.error()));
  }
  options.enabled = *enabled;
  options.expedite_rcu = *expedite;
  options.journal = fs::path(*run_path) / "namespaces.journal";
  return options;
}

RouterDataPlane::RouterDataPlane(std::shared_ptr<Core> core, RouterOptions options,
                                 asio::io_context& control, GuestFrontend& frontend)
    : core_(std::move(core)),
      options_(std::move(options)),
      control_(control),
      frontend_(frontend),
      names_readable_(control),
      devices_readable_(control),
      tick_(control) {}

RouterDataPlane::~RouterDataPlane() {
  if (running_) {
    stop();
  }
  *alive_ = false;
}

Status RouterDataPlane::start(std::shared_ptr<const Inventory> inventory) {
  if (!options_.enabled) {
    forget_elsewhere();
    return {};
  }
  index_.emplace(std::move(inventory));
  journal_.emplace(options_.journal);
  forget_leftovers();
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()).in("router data plane"));
  }
  netlink_.emplace(*std::move(netlink));
  // Subscribe first, then look: what happens in between is seen twice, not missed.
  auto names = NameMonitor::open();
  if (!names) {
    return tl::make_unexpected(std::move(names.error()).in("router data plane"));
  }
  names_.emplace(*std::move(names));
  if (auto devices = DeviceMonitor::open()) {
    devices_.emplace(*std::move(devices));
  } else {
    log::warn("router data plane: {}; devices are looked for every second instead",
              devices.error().message);
  }
  running_ = true;
  names_readable_.assign(names_->fd());
  wait_for_names();
  if (devices_) {
    devices_readable_.assign(devices_->fd());
    wait_for_devices();
  }
  look_at_names();
  wait_for_tick();
  if (queue_.empty()) {
    drop_stale_pins();
  }
  return {};
}

void RouterDataPlane::turn_away() {
  bool any = false;
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      const mt_device_key key{place.number, ifindex};
      any = (bpf() && ::bpf_map_delete_elem(core_->programs->map("mt_devices"), &key) == 0) || any;
    }
  }
  running_ = false;
  if (any) {
    std::this_thread::sleep_for(kArrival);
  }
}

void RouterDataPlane::stop(Leave leave) {
  running_ = false;
  tick_.cancel();
  for (auto* readable : {&names_readable_, &devices_readable_}) {
    if (readable->is_open()) {
      readable->cancel();
      (void)readable->release();  // the monitors own them
    }
  }
  names_.reset();
  devices_.reset();
  queue_.clear();
  queued_.clear();
  if (leave == Leave::steering) {
    for (auto& [name, place] : places_) {
      close_listeners(place);
      for (auto& [ifindex, device] : place.devices) {
        for (auto* attachment : {&device.out, &device.in}) {
          if (*attachment) {
            (*attachment)->keep();
          }
        }
      }
    }
    places_.clear();
  }
  expedite(places_.size() > kMany);
  while (!places_.empty()) {
    release(std::string(places_.begin()->first), false);
  }
  expedite(false);
}

// ---- what is to be looked at ----

void RouterDataPlane::wait_for_names() {
  names_readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                             [this](const boost::system::error_code& error) {
                               if (!error && running_) {
                                 on_names();
                                 wait_for_names();
                               }
                             });
}

void RouterDataPlane::wait_for_devices() {
  devices_readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                               [this](const boost::system::error_code& error) {
                                 if (!error && running_) {
                                   on_devices();
                                   wait_for_devices();
                                 }
                               });
}

void RouterDataPlane::wait_for_tick() {
  tick_.expires_after(kTick);
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (error || !running_) {
      return;
    }
    look_at_names();
    // Without events every place is looked at in each round, else a part of them.
    std::size_t share = devices_ ? places_.size() / kTicksAround + 1 : places_.size();
    for (auto at = places_.upper_bound(swept_); share > 0 && !places_.empty(); --share) {
      if (at == places_.end()) {
        at = places_.begin();
      }
      swept_ = at->first;
      enqueue(at->first);
      ++at;
    }
    wait_for_tick();
  });
}

void RouterDataPlane::on_names() {
  const auto batch = names_->read();
  for (const auto& event : batch.events) {
    if (!PlaceName::of(event.name)) {
      continue;
    }
    if (event.removed) {
      known_.erase(event.name);
      release(event.name, true);
    } else {
      known_.insert(event.name);
      enqueue(event.name);
    }
  }
  if (batch.lost) {
    look_at_names();
    enqueue_all();
  }
}

void RouterDataPlane::on_devices() {
  const auto batch = devices_->read();
  for (const auto& event : batch.events) {
    const auto place = by_nsid_.find(event.nsid);
    if (place == by_nsid_.end()) {
      continue;
    }
    const auto found = places_.find(place->second);
    if (event.removed && found != places_.end() && found->second.devices.contains(event.ifindex)) {
      // Identity goes with the device, at once.
      drop_device(found->second, event.ifindex);
    }
    enqueue(place->second);
  }
  if (batch.lost) {
    enqueue_all();
  }
}

void RouterDataPlane::look_at_names() {
  const auto names = sys::NetNamespace::names();
  if (!names) {
    log::warn("router data plane: {}", names.error().message);
    return;
  }
  std::set<std::string> now;
  for (const auto& name : *names) {
    if (PlaceName::of(name)) {
      now.insert(name);
    }
  }
  std::vector<std::string> gone;
  std::ranges::set_difference(known_, now, std::back_inserter(gone));
  for (const auto& name : gone) {
    known_.erase(name);
    release(name, true);
  }
  for (const auto& name : now) {
    if (known_.insert(name).second) {
      enqueue(name);
    }
  }
}

void RouterDataPlane::look_again(const std::string& name, unsigned tries) {
  auto timer = std::make_shared<asio::steady_timer>(
      control_, std::chrono::milliseconds(1U << std::min(tries, 9U)));
  timer->async_wait([this, timer, name, alive = alive_](const boost::system::error_code& error) {
    if (!error && *alive && running_ && known_.contains(name)) {
      enqueue(name);
    }
  });
}

void RouterDataPlane::enqueue_all() {
  for (const auto& name : known_) {
    enqueue(name);
  }
}

void RouterDataPlane::enqueue(const std::string& name) {
  if (!queued_.insert(name).second) {
    return;
  }
  queue_.push_back(name);
  if (working_) {
    return;
  }
  working_ = true;
  batch_ = 0;
  batch_began_ = batch_told_ = steady_clock::now();
  asio::post(control_, [this, alive = alive_] {
    if (*alive) {
      work();
    }
  });
}

/// One namespace, then whatever else the control thread has to do.
void RouterDataPlane::work() {
  if (!running_ || queue_.empty()) {
    working_ = false;
    return;
  }
  expedite(queue_.size() > kMany);
  const auto name = std::move(queue_.front());
  queue_.pop_front();
  queued_.erase(name);
  settle(name);
  ++batch_;
  const auto now = steady_clock::now();
  if (!queue_.empty()) {
    if (queue_.size() > kVeryMany && now - batch_told_ > std::chrono::seconds(1)) {
      batch_told_ = now;
      log::info("router data plane: {} namespaces done, {} to go", batch_, queue_.size());
    }
    asio::post(control_, [this, alive = alive_] {
      if (*alive) {
        work();
      }
    });
    return;
  }
  working_ = false;
  expedite(false);
  if (!pins_swept_) {
    drop_stale_pins();
    const auto state = progress();
    log::info("router data plane: {} of {} router and DHCP namespaces served, after {} ms",
              state.served, state.namespaces,
              std::chrono::duration_cast<std::chrono::milliseconds>(now - batch_began_).count());
  }
}

void RouterDataPlane::expedite(bool on) {
  if (!options_.expedite_rcu || !bpf() || on == rcu_before_.has_value()) {
    return;
  }
  if (on) {
    std::string before;
    if (std::ifstream in(kExpedited); !(in >> before) || before != "0") {
      return;
    }
    if (std::ofstream out(kExpedited); out << "1" << std::flush) {
      rcu_before_ = before;
    }
    return;
  }
  std::ofstream(kExpedited) << *rcu_before_;
  rcu_before_.reset();
}

// ---- inventory ----

void RouterDataPlane::apply(const InventoryChange& change) {
  if (!running_) {
    return;
  }
  index_->apply(change);
  std::set<std::string, std::less<>> networks(change.networks.begin(), change.networks.end());
  std::set<std::string, std::less<>> routers(change.routers.begin(), change.routers.end());
  const auto touch = [&](const Inventory& inventory) {
    for (const auto& id : change.ports) {
      if (const auto port = inventory.ports.find(id); port != inventory.ports.end()) {
        networks.insert(port->second->network_id);
        if (port->second->device_owner.starts_with("network:")) {
          routers.insert(port->second->device_id);
        }
      }
    }
    for (const auto& id : change.subnets) {
      if (const auto subnet = inventory.subnets.find(id); subnet != inventory.subnets.end()) {
        networks.insert(subnet->second->network_id);
      }
    }
  };
  touch(*change.before);
  touch(*change.after);
  // Routers with an interface on a network that changed; one that lost it is in `change` itself.
  for (const auto& network : networks) {
    for (const auto& id : index_->network_owned_ports_of(network)) {
      if (const auto port = change.after->ports.find(id); port != change.after->ports.end()) {
        routers.insert(port->second->device_id);
      }
    }
  }
  for (const auto& id : routers) {
    if (const auto name = "qrouter-" + id; known_.contains(name)) {
      enqueue(name);
    }
  }
  for (const auto& id : networks) {
    if (const auto name = "qdhcp-" + id; known_.contains(name)) {
      enqueue(name);
    }
  }
}

// ---- one namespace ----

void RouterDataPlane::settle(const std::string& name) {
  const auto what = PlaceName::of(name);
  if (!what || !known_.contains(name)) {
    return;
  }
  auto& place = places_[name];
  place.name = name;
  place.what = *what;
  const auto report = [&](std::string_view state, const std::string& reason) {
    if (place.state != state || place.reason != reason) {
      if (!reason.empty()) {
        log::warn("{}: {}", name, reason);
      }
      place.state = state;
      place.reason = reason;
    }
  };

  if (auto plan = plan_place(*index_, *what, {}); !plan.served) {
    if (place.cookie != 0) {
      release(name, false);
      auto& again = places_[name];
      again.name = name;
      again.what = *what;
      again.reason = plan.reason;
      again.state = plan.reason.starts_with("no ") ? "unknown" : "down";
      log::info("{}: no longer served: {}", name, plan.reason);
      return;
    }
    const bool unknown = plan.reason.starts_with("no ");
    if (place.state.empty() && unknown) {
      log::debug("{}: not served: {}", name, plan.reason);
      place.state = "unknown";
      place.reason = plan.reason;
    }
    report(unknown ? "unknown" : "down", plan.reason);
    return;
  }

  auto opened = sys::NetNamespace::open(name);
  if (!opened) {
    if (opened.error().code == ErrorCode::not_found) {
      // Being made, or going; either way there is nothing of ours in it.
      static constexpr std::string_view kMaking = "being made";
      const unsigned tries =
          place.state == kMaking ? static_cast<unsigned>(std::stoul(place.reason)) + 1 : 0;
      if (place.cookie != 0) {
        release(name, true);
      }
      if (tries < kTries) {
        auto& young = places_[name];
        young.name = name;
        young.what = *what;
        young.state = kMaking;
        young.reason = std::to_string(tries);
        look_again(name, tries);
      } else {
        places_.erase(name);
        known_.erase(name);  // the tick finds it should it become one
      }
      return;
    }
    report(opened.error().code == ErrorCode::denied ? "denied" : "error", opened.error().message);
    return;
  }
  // Named in this order: before we look inside, so that no change is missed.
  std::int32_t nsid = -1;
  if (devices_) {
    if (const auto id = netlink_->nsid_of(opened->fd())) {
      nsid = *id;
    }
  }
  if (nsid != place.nsid) {
    by_nsid_.erase(place.nsid);
    place.nsid = nsid;
  }
  if (nsid >= 0) {
    by_nsid_[nsid] = name;
  }
  // The control thread waits in run(), so what happens inside may use all that is ours.
  const auto done = opened->run([&]() -> Status {
    const Inside inside(inside_);
    const auto cookie = namespace_cookie();
    if (!cookie) {
      return tl::make_unexpected(cookie.error());
    }
    if (place.cookie != 0 && place.cookie != *cookie) {
      // Another one under the same name.
      close_listeners(place);
      while (!place.devices.empty()) {
        drop_device(place, place.devices.begin()->first);
      }
      journal_->forget(place.cookie);
      place.resolver.reset();
      let_rest(place);
    }
    if (place.cookie != *cookie) {
      place.cookie = *cookie;
      place.number = next_place_++;
    }
    auto netlink = sys::Netlink::open();
    if (!netlink) {
      return tl::make_unexpected(std::move(netlink.error()));
    }
    const auto links = netlink->links();
    if (!links) {
      return tl::make_unexpected(links.error());
    }
    auto settled = settle_inside(place, *netlink, plan_place(*index_, place.what, *links), *links);
    sweep_inside(place);
    return settled;
  });
  if (!done) {
    report(done.error().code == ErrorCode::denied ? "denied" : "error", done.error().message);
  } else {
    report(place.devices.empty() ? "waiting" : "served", "");
  }
}

Status RouterDataPlane::settle_inside(Place& place, sys::Netlink& netlink, PlacePlan plan,
                                      const std::vector<sys::Link>& links) {
  const auto find = [&](unsigned ifindex) {
    return std::ranges::find(plan.devices, ifindex, &RouterDevice::ifindex);
  };
  std::vector<unsigned> gone;
  for (const auto& [ifindex, device] : place.devices) {
    const auto wanted = find(ifindex);
    const bool same =
        wanted != plan.devices.end() && wanted->name == device.plan.name &&
        wanted->port_id == device.plan.port_id && wanted->network_id == device.plan.network_id &&
        wanted->enabled == device.plan.enabled && (wanted->v6 == device.plan.v6 || bpf()) &&
        (!device.in || (device.in->alive() && device.out && device.out->alive()));
    if (!same) {
      gone.push_back(ifindex);
    }
  }
  for (const unsigned ifindex : gone) {
    drop_device(place, ifindex);
  }
  for (const auto& problem : plan.problems) {
    if (std::ranges::none_of(place.problems, [&](const auto& old) {
          return old.device == problem.device && old.reason == problem.reason;
        })) {
      log::warn("{}: {}: {}", place.name, problem.device, problem.reason);
    }
  }
  place.problems = plan.problems;
  if (plan.devices.empty()) {
    publish_addresses(place);
    return {};
  }
  if (auto ready = prepare(place, netlink, plan, links); !ready) {
    return ready;
  }
  for (auto& wanted : plan.devices) {
    if (const auto held = place.devices.find(wanted.ifindex); held != place.devices.end()) {
      update_ports(place, held->second, std::move(wanted.sources));
      held->second.plan.v6 = wanted.v6;
      if (bpf() && !held->second.in) {
        (void)attach(place, held->second);
      }
    } else {
      add_device(place, std::move(wanted));
    }
  }
  publish_addresses(place);
  return {};
}

/// Settings, routes and listeners: what the namespace needs before anything is steered there.
Status RouterDataPlane::prepare(Place& place, sys::Netlink& netlink, const PlacePlan& plan,
                                const std::vector<sys::Link>& links) {
  const auto lo = std::ranges::find(links, "lo", &sys::Link::name);
  if (lo == links.end() || !lo->up) {
    return fail(ErrorCode::unavailable, "its lo is down; Neutron brings it up");
  }
  const bool v6 = std::ranges::any_of(plan.devices, &RouterDevice::v6);
  if (bpf()) {
    if (!place.resolver) {
      place.resolver = std::make_shared<MarkResolver>(core_->slots, place.what);
    }
    const bool first = place.listeners.empty();
    if (first) {
      // What a process that died left would be the listener's again.
      if (auto clear = destroy_leftover_sockets();
          !clear && clear.error().code != ErrorCode::unsupported) {
        return clear;
      }
      if (auto set = journal_->set_sysctl(place.cookie, "net/ipv4/tcp_fwmark_accept", "1"); !set) {
        return set;
      }
      if (auto added = journal_->add_local_route(place.cookie, netlink, lo->index, inner_v4());
          !added) {
        return added;
      }
    }
    if (auto opened = open_listener(place, metadata_v4(), inner_v4(), 0); !opened) {
      return opened;
    }
    if (v6 && !place.listeners.contains(
                  fmt::format("{}/[{}]:{}", place.name, metadata_v6().text(), MT_METADATA_PORT))) {
      if (auto added = journal_->add_local_route(place.cookie, netlink, lo->index, inner_v6());
          !added) {
        log::warn("{}: no IPv6: {}", place.name, added.error().message);
      } else if (auto opened = open_listener(place, metadata_v6(), inner_v6(), 0); !opened) {
        log::warn("{}: no IPv6: {}", place.name, opened.error().message);
      }
    }
  } else {
    if (!place.resolver) {
      place.resolver = std::make_shared<AddressResolver>();
    }
  }

  // An on-link guest asks by ARP for the metadata address. Neutron gives it to the DHCP port only
  // where its own proxy runs; without BPF the listener needs it in any case.
  if (place.what.path == Path::dhcp || !bpf()) {
    const auto addresses = netlink.addresses();
    if (!addresses) {
      return tl::make_unexpected(addresses.error());
    }
    const auto has = [&](const sys::IpAddress& address, unsigned ifindex) {
      return std::ranges::any_of(*addresses, [&](const auto& entry) {
        return entry.address == address && (ifindex == 0 || entry.ifindex == ifindex);
      });
    };
    const auto& changes = journal_->changes(place.cookie);
    const auto routed = std::ranges::any_of(changes, [](const auto& change) {
      return change.kind == PlaceChange::Kind::local_route && change.what == metadata_v4().text();
    });
    if (!has(metadata_v4(), 0) && !routed) {
      if (auto added = journal_->add_local_route(place.cookie, netlink, lo->index, metadata_v4());
          !added) {
        return added;
      }
    }
    for (const auto& device : plan.devices) {
      if (!device.v6 || has(metadata_v6(), device.ifindex)) {
        continue;
      }
      const auto link = std::ranges::find(links, device.ifindex, &sys::Link::index);
      if (auto added = journal_->add_address(place.cookie, netlink, *link, metadata_v6()); !added) {
        log::warn("{}: {}: no IPv6 on-link: {}", place.name, device.name, added.error().message);
      }
    }
  }
  if (!bpf()) {
    for (const auto& link : links) {
      // The external side must not hear that the metadata address is here.
      if (link.name.starts_with("qg-")) {
        (void)journal_->set_sysctl(place.cookie,
                                   fmt::format("net/ipv4/conf/{}/arp_ignore", link.name), "1");
      }
    }
    if (auto opened = open_listener(place, metadata_v4(), metadata_v4(), 0); !opened) {
      return opened;
    }
    for (const auto& device : plan.devices) {
      if (!device.v6) {
        continue;
      }
      if (auto opened = open_listener(place, metadata_v6(), metadata_v6(), device.ifindex);
          !opened) {
        log::warn("{}: {}: no IPv6: {}", place.name, device.name, opened.error().message);
      }
    }
  }
  return {};
}

Status RouterDataPlane::open_listener(Place& place, const sys::IpAddress& shown,
                                      const sys::IpAddress& address, unsigned ifindex) {
  auto name =
      shown.family == AF_INET ? fmt::format("{}/{}:{}", place.name, shown.text(), MT_METADATA_PORT)
      : ifindex == 0
          ? fmt::format("{}/[{}]:{}", place.name, shown.text(), MT_METADATA_PORT)
          : fmt::format("{}/[{}%{}]:{}", place.name, shown.text(), ifindex, MT_METADATA_PORT);
  if (place.listeners.contains(name)) {
    return {};
  }
  auto fd =
      open_guest_socket({address, ifindex, bpf() ? core_->programs->program("mt_tagged") : -1});
  if (!fd) {
    if (fd.error().code == ErrorCode::conflict) {
      return fail(ErrorCode::conflict, fd.error().message + " (Neutron's own proxy?)");
    }
    return tl::make_unexpected(std::move(fd.error()));
  }
  if (bpf()) {
    const mt_listener where{place.number, 0};
    const int socket = fd->get();
    if (::bpf_map_update_elem(core_->programs->map("mt_listeners"), &socket, &where, BPF_ANY) !=
        0) {
      return fail_errno(errno, "name the listener's namespace");
    }
  }
  place.listeners.emplace(name, ifindex);
  frontend_.open(
      GuestListener{*std::move(fd), std::move(name), place.resolver, next_worker_++, true});
  return {};
}

void RouterDataPlane::close_listeners(Place& place) {
  for (const auto& [name, ifindex] : std::exchange(place.listeners, {})) {
    frontend_.close(name);
  }
}

/// Without BPF: who is who, by address.
void RouterDataPlane::publish_addresses(Place& place) {
  const auto resolver = std::dynamic_pointer_cast<AddressResolver>(place.resolver);
  if (!resolver) {
    return;
  }
  auto table = std::make_shared<AddressTable>();
  const auto& inventory = index_->inventory();
  for (const auto& [ifindex, device] : place.devices) {
    if (!device.plan.enabled) {
      continue;
    }
    AddressTable::Device entry{ifindex, {}, device.origin};
    for (const auto& [id, subnet] : inventory.subnets) {
      if (subnet->network_id == device.plan.network_id) {
        if (const auto cidr = sys::IpNetwork::parse(subnet->cidr)) {
          entry.subnets.push_back(*cidr);
        }
      }
    }
    table->devices.push_back(std::move(entry));
    for (const auto& source : device.plan.sources) {
      const auto port = device.ports.find(source.port_id);
      if (port == device.ports.end()) {
        continue;
      }
      const auto origin = source.enabled ? port->second.origin : nullptr;
      for (const auto& address : source.addresses) {
        table->known.push_back({address, 0, origin});
      }
      table->known.push_back({link_local_of(source.mac), ifindex, origin});
    }
  }
  table->sort();
  resolver->publish(std::move(table));
}

void RouterDataPlane::release(const std::string& name, bool gone) {
  const auto found = places_.find(name);
  if (found == places_.end()) {
    return;
  }
  auto& place = found->second;
  // An open socket would keep a deleted namespace alive: before all else.
  close_listeners(place);
  const auto let_go = [&] {
    while (!place.devices.empty()) {
      drop_device(place, place.devices.begin()->first);
    }
  };
  const bool empty =
      place.devices.empty() && place.retired.empty() && journal_->changes(place.cookie).empty();
  if (!gone && !empty) {
    if (auto opened = sys::NetNamespace::open(name)) {
      const auto undone = opened->run([&]() -> Status {
        const Inside inside(inside_);
        const auto cookie = namespace_cookie();
        let_go();
        if (!cookie || *cookie != place.cookie) {
          return {};
        }
        sweep_inside(place);
        auto netlink = sys::Netlink::open();
        if (!netlink) {
          return tl::make_unexpected(std::move(netlink.error()));
        }
        return journal_->undo(place.cookie, *netlink);
      });
      if (!undone) {
        log::warn("{}: {}", name, undone.error().message);
      }
    }
  }
  let_go();
  let_rest(place);
  if (gone) {
    journal_->forget(place.cookie);
    if (place.cookie != 0) {
      log::info("{}: gone", name);
    }
  }
  by_nsid_.erase(place.nsid);
  places_.erase(found);
}

/// Connections of slots that are nobody's any more end here. While we stop, answers that are on
/// their way arrive: then the next process does it before it listens.
void RouterDataPlane::sweep_inside(Place& place) {
  if (!running_ || !bpf() || place.retired.empty()) {
    return;
  }
  if (!rest_if_silent(*core_->slots, place.retired, destroy_tagged_sockets(place.retired),
                      place.name)) {
    look_again(place.name, kTries);
  }
}

/// The namespace is not ours to look into any more: what it sends is nobody else's on this host.
void RouterDataPlane::let_rest(Place& place) {
  for (const auto slot : std::exchange(place.retired, {})) {
    core_->slots->rest(slot);
  }
}

// ---- one device ----

void RouterDataPlane::add_device(Place& place, RouterDevice wanted) {
  if (!wanted.port_id.empty()) {
    const auto [claim, ours] =
        claims_.try_emplace(wanted.port_id, std::pair{place.name, wanted.ifindex});
    if (!ours && claim->second != std::pair{place.name, wanted.ifindex}) {
      // The older one keeps it.
      auto reason = fmt::format("port {} is served on a device of {} already", wanted.port_id,
                                claim->second.first);
      if (waiting_[wanted.port_id].insert(place.name).second) {
        log::warn("{}: {}: {}", place.name, wanted.name, reason);
      }
      place.problems.push_back({wanted.name, "conflict", std::move(reason)});
      return;
    }
  }
  Device device;
  device.plan = std::move(wanted);
  auto sources = std::exchange(device.plan.sources, {});
  device.origin = std::make_shared<Origin>();
  device.origin->path = place.what.path;
  device.origin->network_id = device.plan.network_id;
  device.origin->router_id = device.plan.router_id;
  device.origin->device = device.plan.name;
  const unsigned ifindex = device.plan.ifindex;
  auto& held = place.devices.emplace(ifindex, std::move(device)).first->second;
  if (!bpf()) {
    update_ports(place, held, std::move(sources));
    return;
  }

  mt_slot row{};
  row.kind = MT_KIND_ROUTER_DEVICE;
  row.flags = held.plan.enabled ? 0 : MT_SLOT_DISABLED;
  row.ifindex = ifindex;
  copy_text(row.device, held.plan.name);
  copy_text(row.port_id, held.plan.port_id);
  copy_text(row.network_id, held.plan.network_id);
  copy_text(row.router_id, held.plan.router_id);
  auto slot = core_->slots->add(row, held.origin);
  if (!slot) {
    log::warn("{}: {}: {}", place.name, held.plan.name, slot.error().message);
    held.error = slot.error().message;
    return;
  }
  held.slot = *slot;
  // Its ports first: programs of an earlier process may be attached, and must not take a guest of
  // ours for an unknown one.
  update_ports(place, held, std::move(sources));
  const mt_device_key key{place.number, ifindex};
  if (::bpf_map_update_elem(core_->programs->map("mt_devices"), &key, &held.slot, BPF_ANY) != 0) {
    held.error = errno_error(errno, "write mt_devices").message;
    log::warn("{}: {}: {}", place.name, held.plan.name, held.error);
    return;
  }
  (void)attach(place, held);
}

Status RouterDataPlane::attach(Place& place, Device& device) {
  auto& programs = *core_->programs;
  const unsigned ifindex = device.plan.ifindex;
  const auto mode = core_->options.attach;
  // The way back first: no packet must go in before its answer can come out.
  auto out =
      TcAttachment::attach(programs.program("mt_router_out"), ifindex, mode,
                           programs.links_path() / pin_of(place, ifindex, "out"), TcSide::egress);
  auto in = out ? TcAttachment::attach(programs.program("mt_router"), ifindex, mode,
                                       programs.links_path() / pin_of(place, ifindex, "in"))
                : Result<TcAttachment>(tl::make_unexpected(out.error()));
  if (!in) {
    if (device.error != in.error().message) {
      log::warn("{}: {}: {}", place.name, device.plan.name, in.error().message);
    }
    device.error = in.error().message;
    return tl::make_unexpected(std::move(in.error()));
  }
  device.out.emplace(*std::move(out));
  device.in.emplace(*std::move(in));
  device.error.clear();
  log::debug("{}: {} steered, slot {}", place.name, device.plan.name, device.slot);
  return {};
}

void RouterDataPlane::update_ports(Place& place, Device& device, std::vector<RouterSource> wanted) {
  if (wanted == device.plan.sources) {
    return;
  }
  std::map<std::string_view, const RouterSource*> now, next;
  for (const auto& source : device.plan.sources) {
    now.emplace(source.port_id, &source);
  }
  for (const auto& source : wanted) {
    next.emplace(source.port_id, &source);
  }
  // First let go, then take: an address may have moved from one port to another. What changed is
  // a new identity, so that nothing of the old one goes on.
  std::vector<std::string> gone;
  for (const auto& [id, port] : device.ports) {
    const auto old = now.find(id);
    const auto now_wanted = next.find(id);
    if (now_wanted == next.end() || old == now.end() || !(*old->second == *now_wanted->second)) {
      gone.push_back(id);
    }
  }
  for (const auto& id : gone) {
    drop_port(place, device, id);
  }
  for (const auto& source : wanted) {
    if (device.ports.contains(source.port_id)) {
      continue;
    }
    if (auto added = add_port(place, device, source); !added) {
      log::warn("{}: {}: port {}: {}", place.name, device.plan.name, source.port_id,
                added.error().message);
    }
  }
  device.plan.sources = std::move(wanted);
}

Status RouterDataPlane::add_port(Place& place, Device& device, const RouterSource& source) {
  Device::Port port;
  port.origin = std::make_shared<Origin>();
  port.origin->path = place.what.path;
  port.origin->port_id = source.port_id;
  port.origin->network_id = device.plan.network_id;
  port.origin->router_id = device.plan.router_id;
  port.origin->device = device.plan.name;
  if (!bpf()) {
    device.ports.emplace(source.port_id, std::move(port));
    return {};
  }
  mt_slot row{};
  row.kind = MT_KIND_ROUTER_PORT;
  row.flags = source.enabled ? 0 : MT_SLOT_DISABLED;
  row.ifindex = device.plan.ifindex;
  row.device_slot = device.slot;
  std::ranges::copy(source.mac, row.mac);
  copy_text(row.device, device.plan.name);
  copy_text(row.port_id, source.port_id);
  copy_text(row.network_id, device.plan.network_id);
  copy_text(row.router_id, device.plan.router_id);
  for (const auto& address : source.addresses) {
    port.keys.push_back(key_of(device.slot, address.family == AF_INET ? MT_FAMILY_V4 : MT_FAMILY_V6,
                               address.bytes.data(), address.size()));
  }
  if (source.mac != sys::MacAddress{}) {
    port.keys.push_back(key_of(device.slot, MT_FAMILY_MAC, source.mac.data(), source.mac.size()));
  }
  auto slot = core_->slots->add(row, port.origin);
  if (!slot) {
    return tl::make_unexpected(std::move(slot.error()));
  }
  port.slot = *slot;
  Status written;
  for (const auto& key : port.keys) {
    if (::bpf_map_update_elem(core_->programs->map("mt_sources"), &key, &port.slot, BPF_ANY) != 0) {
      written = fail_errno(errno, "write mt_sources");
    }
  }
  device.ports.emplace(source.port_id, std::move(port));
  return written;
}

void RouterDataPlane::drop_port(Place& place, Device& device, const std::string& port_id) {
  const auto found = device.ports.find(port_id);
  if (found == device.ports.end()) {
    return;
  }
  auto& port = found->second;
  if (bpf()) {
    for (const auto& key : port.keys) {
      ::bpf_map_delete_elem(core_->programs->map("mt_sources"), &key);
    }
    core_->slots->remove(port.slot);
    place.retired.insert(port.slot);
  }
  port.origin->revoked.store(true);
  device.ports.erase(found);
}

void RouterDataPlane::drop_device(Place& place, unsigned ifindex) {
  const auto found = place.devices.find(ifindex);
  if (found == place.devices.end()) {
    return;
  }
  auto& device = found->second;
  if (bpf()) {
    const mt_device_key key{place.number, ifindex};
    ::bpf_map_delete_elem(core_->programs->map("mt_devices"), &key);
  }
  while (!device.ports.empty()) {
    drop_port(place, device, std::string(device.ports.begin()->first));
  }
  device.origin->revoked.store(true);
  if (device.slot != 0) {
    core_->slots->remove(device.slot);
    place.retired.insert(device.slot);
  }
  for (auto* attachment : {&device.out, &device.in}) {
    // A clsact filter can only be taken away inside; one that is left goes with its device.
    if (*attachment && !inside_ && (*attachment)->kind() == "clsact") {
      (*attachment)->keep();
    }
    attachment->reset();
  }
  if (!bpf()) {
    for (auto listener = place.listeners.begin(); listener != place.listeners.end();) {
      if (listener->second == ifindex) {
        frontend_.close(listener->first);
        listener = place.listeners.erase(listener);
      } else {
        ++listener;
      }
    }
  }
  const auto port_id = device.plan.port_id;
  place.devices.erase(found);
  if (const auto claim = claims_.find(port_id);
      claim != claims_.end() && claim->second == std::pair{place.name, ifindex}) {
    claims_.erase(claim);
    if (const auto others = waiting_.extract(port_id); !others.empty() && running_) {
      for (const auto& name : others.mapped()) {
        enqueue(name);
      }
    }
  }
}

std::string RouterDataPlane::pin_of(const Place& place, unsigned ifindex,
                                    std::string_view side) const {
  std::string id = place.what.id;
  std::erase_if(id, [](char c) { return c == '.' || c == '/'; });
  return fmt::format("{}_{}_{}_{}", place.what.path == Path::router ? "qrouter" : "qdhcp", id,
                     ifindex, side);
}

/// Rows of an earlier process: what is still there gets new ones. Its programs stay attached and
/// find nothing, which leaves the guests to whoever served them before.
void RouterDataPlane::forget_leftovers() {
  if (!bpf()) {
    return;
  }
  clear_map<mt_device_key>(core_->programs->map("mt_devices"));
  clear_map<mt_source_key>(core_->programs->map("mt_sources"));
  core_->slots->drop_orphans(is_router_row);
}

/// Of the connections that an earlier process left, nothing is in the way of others any more.
void RouterDataPlane::forget_elsewhere() {
  if (bpf()) {
    clear_map<mt_flow>(core_->programs->map("mt_elsewhere"));
  }
}

/// Pins of devices that went while nobody looked.
void RouterDataPlane::drop_stale_pins() {
  pins_swept_ = true;
  forget_elsewhere();
  if (!bpf()) {
    return;
  }
  std::set<std::string> live;
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      live.insert(pin_of(place, ifindex, "in"));
      live.insert(pin_of(place, ifindex, "out"));
    }
  }
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator it(core_->programs->links_path(), error), end; !error && it != end;
       it.increment(error)) {
    const auto name = it->path().filename().string();
    if ((name.starts_with("qrouter_") || name.starts_with("qdhcp_")) && !live.contains(name)) {
      stale.push_back(it->path());
    }
  }
  for (const auto& pin : stale) {
    fs::remove(pin, error);
  }
}

// ---- status ----

RouterDataPlane::Progress RouterDataPlane::progress() const {
  Progress progress;
  progress.namespaces = known_.size();
  progress.pending = queue_.size();
  for (const auto& [name, place] : places_) {
    progress.served += place.state == "served" ? 1 : 0;
  }
  return progress;
}

std::vector<PlaceStatus> RouterDataPlane::places() const {
  std::vector<PlaceStatus> all;
  for (const auto& [name, place] : places_) {
    PlaceStatus status;
    status.name = name;
    status.kind = place.what.path == Path::router ? "router" : "dhcp";
    status.id = place.what.id;
    status.state = place.state;
    status.reason = place.reason;
    for (const auto& [listener, ifindex] : place.listeners) {
      status.listeners.push_back(listener);
    }
    for (const auto& [ifindex, device] : place.devices) {
      RouterDeviceStatus entry;
      entry.name = device.plan.name;
      entry.ifindex = ifindex;
      entry.port_id = device.plan.port_id;
      entry.network_id = device.plan.network_id;
      entry.slot = device.slot;
      entry.attach = device.in ? std::string(device.in->kind()) : bpf() ? "" : "listen";
      entry.state = !device.error.empty() ? "error" : device.plan.enabled ? "steered" : "disabled";
      entry.reason = !device.error.empty()  ? device.error
                     : !device.plan.enabled ? "admin_state_up is false on its network or port"
                                            : "";
      entry.ports = device.ports.size();
      status.devices.push_back(std::move(entry));
    }
    for (const auto& problem : place.problems) {
      RouterDeviceStatus entry;
      entry.name = problem.device;
      entry.state = problem.state;
      entry.reason = problem.reason;
      status.devices.push_back(std::move(entry));
    }
    status.changes = journal_->changes(place.cookie);
    all.push_back(std::move(status));
  }
  return all;
}

std::vector<OldPath> RouterDataPlane::old_paths(std::size_t limit) const {
  std::vector<OldPath> all;
  const auto proxies = haproxies();
  for (const auto& [name, place] : places_) {
    if (place.state == "unknown") {
      continue;
    }
    if (all.size() == limit) {
      break;
    }
    const auto opened = sys::NetNamespace::open(name);
    if (!opened) {
      continue;
    }
    auto old =
        opened->run([&]() -> Result<OldPath> { return look_at_old_path(place.name, place.what); });
    if (!old) {
      continue;
    }
    const auto [begin, end] = proxies.equal_range(opened->id().inode);
    for (auto it = begin; it != end; ++it) {
      old->processes.push_back(fmt::format("haproxy, pid {}", it->second));
    }
    if (!bpf()) {
      // These are our own.
      std::erase_if(old->listeners, [](const auto& listener) { return listener.ends_with(":80"); });
    }
    all.push_back(*std::move(old));
  }
  return all;
}

std::vector<SlotStatus> RouterDataPlane::slots() const {
  std::vector<SlotStatus> all;
  if (!bpf()) {
    return all;
  }
  std::map<std::uint32_t, std::size_t> at;
  const auto add = [&](std::uint32_t slot, const std::string& port_id, const std::string& device) {
    SlotStatus status;
    status.slot = slot;
    status.port_id = port_id;
    status.device = device;
    ::bpf_map_lookup_elem(core_->programs->map("mt_counters"), &slot, &status.counter);
    at.emplace(slot, all.size());
    all.push_back(std::move(status));
  };
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      add(device.slot, {}, place.name + "/" + device.plan.name);
      for (const auto& [id, port] : device.ports) {
        add(port.slot, id, place.name + "/" + device.plan.name);
      }
    }
  }
  const int map = core_->programs->map("mt_slot_reasons");
  mt_slot_reason key{};
  for (const mt_slot_reason* previous = nullptr; ::bpf_map_get_next_key(map, previous, &key) == 0;
       previous = &key) {
    std::uint64_t count = 0;
    const auto found = at.find(key.slot);
    if (found != at.end() && key.reason < reasons().size() &&
        ::bpf_map_lookup_elem(map, &key, &count) == 0) {
      all[found->second].reasons.emplace(reasons()[key.reason].name, count);
    }
  }
  return all;
}

}  // namespace metatap::dataplane
