// SPDX-License-Identifier: Apache-2.0
#include "dataplane/router_data_plane.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "dataplane/leftovers.hpp"

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

/// Devices that the plan does not mention.
std::vector<sys::Link> not_in(const PlacePlan& plan, std::vector<sys::Link> links) {
  std::erase_if(links, [&](const sys::Link& link) {
    return std::ranges::find(plan.devices, link.index, &RouterDevice::ifindex) !=
           plan.devices.end();
  });
  return links;
}

}  // namespace

RouterDataPlane::RouterDataPlane(std::shared_ptr<Core> core, Reconciler& reconciler,
                                 asio::io_context& control, GuestFrontend& frontend)
    : core_(std::move(core)),
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
  if (!core_->options.routers) {
    forget_elsewhere(*core_);
    core_->inherited->end_all();
    return {};
  }
  index_.emplace(std::move(inventory));
  journal_.emplace(core_->options.journal);
  steering_ = core_->programs ? bpf_steering(core_, reconciler_, *journal_, frontend_)
                              : listen_steering(*core_, *journal_, frontend_);
  next_number_ = steering_->look_at_leftovers();
  place_devices_.emplace(*steering_, [this](const std::string& place) {
    if (running_) {
      lane_.add(place);
    }
  });
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
    settle_once();
  }
  return {};
}

void RouterDataPlane::settle_once() {
  settled_once_ = true;
  core_->inherited->end_all();
  steering_->sweep(places_);
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
    return Turn::done();
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
    auto problem = name + ": " + done.error().message;
    report(place, done.error().code == ErrorCode::denied ? PlaceState::denied : PlaceState::failed,
           std::move(done.error().message));
    return Turn::failed(std::move(problem));
  }
  report(place, place.devices.empty() ? PlaceState::waiting : PlaceState::served);
  std::string problems;
  for (const auto& [ifindex, device] : place.devices) {
    if (!device.error.empty()) {
      problems += (problems.empty() ? "" : "; ") + device.plan.name + ": " + device.error;
    }
  }
  if (!problems.empty()) {
    return Turn::failed(name + ": " + problems);
  }
  return place.retired.empty() ? Turn::done() : Turn::again();
}

Turn RouterDataPlane::settle_unserved(Place& place, PlaceState state) {
  if (place.cookie == 0) {
    if (!settled_once_) {
      undo_leftovers(place.name);
    }
    report(place, state);
    return Turn::done();
  }
  const auto what = place.what;
  const auto name = place.name;
  release(name, false);
  auto& again = places_[name];
  again.name = name;
  again.what = what;
  again.state = state;
  log::info("{}: no longer served: {}", name, explain(again));
  return Turn::done();
}

/// An earlier process may have served it, and ended without a chance to undo what it did.
void RouterDataPlane::undo_leftovers(const std::string& name) {
  const auto opened = sys::NetNamespace::open(name);
  const auto undone = opened ? opened->run([&] { return clear_place(*journal_); }) : Status();
  if (!undone) {
    log::warn("{}: {}", name, undone.error().message);
  }
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
  return Turn::again();
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
    place_devices_->drop_all(place, inside_);
    journal_->forget(place.cookie);
    let_rest(place);
  }
  place.cookie = *cookie;
  place.former = 0;
  place.number = next_number_++;
  return {};
}

Status RouterDataPlane::settle_inside(Place& place) {
  const bool first = place.cookie == 0;
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
  if (first && !journal_->changes(place.cookie).empty()) {
    remove_left_filters(not_in(plan, *links));
  }
  auto settled = !plan.devices.empty() && !lo_up
                     ? fail(ErrorCode::unavailable, "its lo is down; Neutron brings it up")
                     : place_devices_->settle(place, std::move(plan),
                                              {*netlink, *links, lo_up ? lo->index : 0});
  steering_->publish(place, index_->inventory());
  if (auto given = steering_->give_listeners(place); !given && settled) {
    settled = std::move(given);
  }
  (void)steering_->end_connections(place);  // what is left stays in `retired`
  return settled;
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
        place_devices_->drop_all(place, inside_);
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
  place_devices_->drop_all(place, inside_);
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

}  // namespace metatap::dataplane
