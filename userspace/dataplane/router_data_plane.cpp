// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_data_plane.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

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
  auto run_path = config.text("DEFAULT", "run_path", "/run/metatap");
  if (!enabled) {
    return tl::make_unexpected(std::move(enabled.error()));
  }
  if (!run_path) {
    return tl::make_unexpected(std::move(run_path.error()));
  }
  options.enabled = *enabled;
  options.journal = std::filesystem::path(*run_path) / "namespaces.journal";
  return options;
}

RouterDataPlane::RouterDataPlane(std::shared_ptr<Core> core, RouterOptions options,
                                 Reconciler& reconciler, asio::io_context& control,
                                 GuestFrontend& frontend)
    : core_(std::move(core)),
      options_(std::move(options)),
      reconciler_(reconciler),
      frontend_(frontend),
      names_readable_(control),
      devices_readable_(control),
      tick_(control),
      lane_(reconciler.queue, [this](const std::string& name) { return settle(name); }) {
  reconciler_.queue.observe(
      [this, alive = std::weak_ptr<bool>(alive_)](const WorkQueue::Progress& progress) {
        if (!alive.expired() && running_) {
          tell(progress);
        }
      });
}

RouterDataPlane::~RouterDataPlane() {
  if (running_) {
    stop();
  }
}

Status RouterDataPlane::start(std::shared_ptr<const Inventory> inventory) {
  if (!options_.enabled) {
    forget_elsewhere(*core_);
    return {};
  }
  index_.emplace(std::move(inventory));
  journal_.emplace(options_.journal);
  steering_ = core_->programs ? bpf_steering(core_, reconciler_, *journal_, frontend_)
                              : listen_steering(*core_, *journal_, frontend_);
  steering_->forget_leftovers();
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
  if (auto devices =
          DeviceMonitor::open(core_->programs && attaches_by_filter(core_->options.attach))) {
    devices_.emplace(*std::move(devices));
  } else {
    log::warn("router data plane: {}; devices are looked for every second instead",
              devices.error().message);
  }
  running_ = true;
  batch_began_ = batch_told_ = steady_clock::now();
  names_readable_.assign(names_->fd());
  wait_for_names();
  if (devices_) {
    devices_readable_.assign(devices_->fd());
    wait_for_devices();
  }
  look_at_names();
  wait_for_tick();
  if (lane_.ready() == 0) {
    settled_once_ = true;
    steering_->sweep(places_);
  }
  return {};
}

void RouterDataPlane::turn_away() {
  for (auto& [name, place] : places_) {
    steering_->turn_away(place);
  }
  running_ = false;
  lane_.clear();
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
  lane_.clear();
  if (leave == Leave::steering) {
    for (auto& [name, place] : places_) {
      steering_->close_listeners(place);
      for (auto& [ifindex, device] : place.devices) {
        device.binding.keep();
        for (auto& [id, port] : device.ports) {
          port.keep();
        }
        if (device.hooks) {
          device.hooks->keep();
        }
      }
    }
    places_.clear();
  }
  const auto soon = reconciler_.expedite_for(places_.size());
  while (!places_.empty()) {
    release(std::string(places_.begin()->first), false);
  }
}

// ---- a namespace's turn ----

Turn RouterDataPlane::settle(const std::string& name) {
  const auto what = PlaceName::of(name);
  if (!what || !known_.contains(name)) {
    return Turn::done;
  }
  auto& place = places_[name];
  place.name = name;
  place.what = *what;
  if (const auto plan = plan_place(*index_, *what, {}); plan.state != PlaceState::served) {
    return settle_unserved(place, plan.state);
  }
  auto opened = sys::NetNamespace::open(name);
  if (!opened && opened.error().code == ErrorCode::not_found) {
    return settle_missing(place);
  }
  Status done;
  if (opened) {
    number(place, *opened);
    // The control thread waits in run(), so what happens inside may use all that is ours.
    done = opened->run([&]() -> Status {
      const Inside inside(inside_);
      return settle_inside(place);
    });
  } else {
    done = tl::make_unexpected(std::move(opened.error()));
  }
  if (!done) {
    report(place, done.error().code == ErrorCode::denied ? PlaceState::denied : PlaceState::failed,
           std::move(done.error().message));
    return Turn::again;
  }
  report(place, place.devices.empty() ? PlaceState::waiting : PlaceState::served);
  const bool well = std::ranges::all_of(
      place.devices, [](const auto& device) { return device.second.error.empty(); });
  return well && place.retired.empty() ? Turn::done : Turn::again;
}

Turn RouterDataPlane::settle_unserved(Place& place, PlaceState state) {
  if (place.cookie == 0) {
    report(place, state);
    return Turn::done;
  }
  const auto what = place.what;
  const auto name = place.name;
  release(name, false);
  auto& again = places_[name];
  again.name = name;
  again.what = what;
  again.state = state;
  log::info("{}: no longer served: {}", name, explain(again));
  return Turn::done;
}

/// Being made, or going; either way there is nothing of ours in it.
Turn RouterDataPlane::settle_missing(Place& place) {
  const auto what = place.what;
  const auto name = place.name;
  if (place.cookie != 0) {
    release(name, true);
  }
  auto& young = places_[name];
  young.name = name;
  young.what = what;
  young.state = PlaceState::appearing;
  return Turn::again;
}

/// Before we look inside, so that no change is missed.
void RouterDataPlane::number(Place& place, const sys::NetNamespace& opened) {
  std::int32_t nsid = -1;
  if (devices_) {
    nsid = netlink_->nsid_of(opened.fd()).value_or(-1);
  }
  if (nsid != place.nsid) {
    by_nsid_.erase(place.nsid);
    place.nsid = nsid;
  }
  if (nsid >= 0) {
    by_nsid_[nsid] = place.name;
  }
}

/// Is it still the namespace that it was?
Status RouterDataPlane::recognize(Place& place) {
  const auto cookie = namespace_cookie();
  if (!cookie) {
    return tl::make_unexpected(cookie.error());
  }
  if (place.cookie == *cookie) {
    return {};
  }
  if (place.cookie != 0) {
    steering_->close_listeners(place);
    drop_devices(place);
    journal_->forget(place.cookie);
    place.resolver.reset();
    let_rest(place);
  }
  place.cookie = *cookie;
  place.number = next_number_++;
  return {};
}

Status RouterDataPlane::settle_inside(Place& place) {
  if (auto recognized = recognize(place); !recognized) {
    return recognized;
  }
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return tl::make_unexpected(std::move(netlink.error()));
  }
  const auto links = netlink->links();
  if (!links) {
    return tl::make_unexpected(links.error());
  }
  const auto lo = std::ranges::find(*links, "lo", &sys::Link::name);
  const bool lo_up = lo != links->end() && lo->up;
  auto plan = plan_place(*index_, place.what, *links);
  auto settled =
      !plan.devices.empty() && !lo_up
          ? fail(ErrorCode::unavailable, "its lo is down; Neutron brings it up")
          : settle_devices(place, std::move(plan), {*netlink, *links, lo_up ? lo->index : 0});
  steering_->publish(place, index_->inventory());
  (void)steering_->end_connections(place);  // what is left stays in `retired`
  return settled;
}

Status RouterDataPlane::settle_devices(Place& place, PlacePlan plan,
                                       const Steering::Inside& inside) {
  std::vector<unsigned> gone;
  for (auto& [ifindex, device] : place.devices) {
    const auto wanted = std::ranges::find(plan.devices, ifindex, &RouterDevice::ifindex);
    const bool same = wanted != plan.devices.end() && wanted->name == device.plan.name &&
                      wanted->port_id == device.plan.port_id &&
                      wanted->network_id == device.plan.network_id &&
                      wanted->enabled == device.plan.enabled && steering_->goes_on(device, *wanted);
    if (!same) {
      gone.push_back(ifindex);
    }
  }
  for (const unsigned ifindex : gone) {
    drop_device(place, ifindex);
  }
  report(place, std::move(plan.problems));
  if (plan.devices.empty()) {
    return {};
  }
  if (auto ready = steering_->prepare(place, inside, plan); !ready) {
    return ready;
  }
  for (auto& wanted : plan.devices) {
    const auto held = place.devices.find(wanted.ifindex);
    if (held == place.devices.end()) {
      (void)add_device(place, std::move(wanted));  // a device's own error is in its status
    } else {
      held->second.plan.v6 = wanted.v6;
      (void)update_device(place, held->second, std::move(wanted.sources));
    }
  }
  return {};
}

void RouterDataPlane::report(Place& place, PlaceState state, std::string error) {
  const bool news = place.state != state || place.error != error;
  place.state = state;
  place.error = std::move(error);
  if (!news) {
    return;
  }
  if (state == PlaceState::unknown) {
    log::debug("{}: not served: {}", place.name, explain(place));
  } else if (auto why = explain(place); !why.empty()) {
    log::warn("{}: {}", place.name, why);
  }
}

void RouterDataPlane::report(Place& place, std::vector<RouterProblem> problems) {
  for (const auto& problem : problems) {
    if (std::ranges::find(place.problems, problem) == place.problems.end()) {
      log::warn("{}: {}: {}", place.name, problem.device, explain(problem, place.what.path));
    }
  }
  place.problems = std::move(problems);
}

void RouterDataPlane::release(const std::string& name, bool gone) {
  const auto found = places_.find(name);
  if (found == places_.end()) {
    return;
  }
  auto& place = found->second;
  // An open socket would keep a deleted namespace alive: before all else.
  steering_->close_listeners(place);
  const bool empty =
      place.devices.empty() && place.retired.empty() && journal_->changes(place.cookie).empty();
  if (!gone && !empty) {
    if (auto opened = sys::NetNamespace::open(name)) {
      const auto undone = opened->run([&]() -> Status {
        const Inside inside(inside_);
        const auto cookie = namespace_cookie();
        drop_devices(place);
        if (!cookie || *cookie != place.cookie) {
          return {};
        }
        if (running_) {  // while we stop, answers that are on their way arrive
          (void)steering_->end_connections(place);
        }
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
  drop_devices(place);
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

void RouterDataPlane::let_rest(Place& place) {
  for (const auto slot : std::exchange(place.retired, {})) {
    core_->slots->rest(slot);
  }
}

void RouterDataPlane::drop_devices(Place& place) {
  while (!place.devices.empty()) {
    drop_device(place, place.devices.begin()->first);
  }
}

// ---- one device ----

Status RouterDataPlane::add_device(Place& place, RouterDevice wanted) {
  if (!wanted.port_id.empty()) {
    const DeviceAt here{place.name, wanted.ifindex};
    const auto [claim, ours] = claims_.try_emplace(wanted.port_id, here);
    if (!ours && claim->second != here) {
      // The older one keeps it.
      RouterProblem problem{wanted.name, DeviceState::conflict, claim->second.first, 1,
                            wanted.port_id};
      if (waiting_[wanted.port_id].insert(place.name).second) {
        log::warn("{}: {}: {}", place.name, wanted.name, explain(problem, place.what.path));
      }
      place.problems.push_back(std::move(problem));
      return {};
    }
  }
  auto sources = std::exchange(wanted.sources, {});
  const unsigned ifindex = wanted.ifindex;
  auto& device = place.devices[ifindex];
  device.plan = std::move(wanted);
  return update_device(place, device, std::move(sources));
}

/// Whatever is missing of a device: identity, ports, programs.
Status RouterDataPlane::update_device(Place& place, PlaceDevice& device,
                                      std::vector<RouterSource> wanted) {
  Status done;
  if (!device.binding.origin()) {
    done = steering_->identify(place, device);
  }
  if (done) {
    done = update_ports(place, device, std::move(wanted));
    if (auto connected = steering_->connect(place, device); !connected) {
      done = std::move(connected);
    }
  }
  auto error = done ? std::string() : done.error().message;
  if (!done && device.error != error) {
    log::warn("{}: {}: {}", place.name, device.plan.name, error);
  }
  device.error = std::move(error);
  return done;
}

Status RouterDataPlane::update_ports(Place& place, PlaceDevice& device,
                                     std::vector<RouterSource> wanted) {
  if (wanted == device.plan.sources) {
    return {};
  }
  // First let go, then take: an address may have moved from one port to another. What changed is
  // a new identity, so that nothing of the old one goes on.
  const auto& now = device.plan.sources;
  std::erase_if(device.ports, [&](const auto& port) {
    const auto old = std::ranges::find(now, port.first, &RouterSource::port_id);
    const auto next = std::ranges::find(wanted, port.first, &RouterSource::port_id);
    return next == wanted.end() || old == now.end() || !(*old == *next);
  });
  Status done;
  std::erase_if(wanted, [&](const RouterSource& source) {
    if (device.ports.contains(source.port_id)) {
      return false;
    }
    auto made = steering_->identify_port(place, device, source);
    if (!made) {
      done = tl::make_unexpected(std::move(made.error()).in("port " + source.port_id));
      return true;  // and so it is tried again
    }
    device.ports.emplace(source.port_id, *std::move(made));
    return false;
  });
  device.plan.sources = std::move(wanted);
  return done;
}

void RouterDataPlane::drop_device(Place& place, unsigned ifindex) {
  const auto found = place.devices.find(ifindex);
  if (found == place.devices.end()) {
    return;
  }
  steering_->disconnect(place, found->second, inside_);
  const auto port_id = found->second.plan.port_id;
  place.devices.erase(found);
  const auto claim = claims_.find(port_id);
  if (claim == claims_.end() || claim->second != DeviceAt{place.name, ifindex}) {
    return;
  }
  claims_.erase(claim);
  if (const auto others = waiting_.extract(port_id); !others.empty() && running_) {
    for (const auto& name : others.mapped()) {
      lane_.add(name);
    }
  }
}

}  // namespace metatap::dataplane
