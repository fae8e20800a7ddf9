// SPDX-License-Identifier: Apache-2.0
// The events that give namespaces their turns: names, devices, changes of the inventory, time.
#include <algorithm>

#include "base/log.hpp"
#include "dataplane/router_data_plane.hpp"

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

/// Events tell of changes at once; a slow walk over everything finds what they did not.
constexpr std::chrono::seconds kTick{1};
constexpr std::size_t kTicksAround = 30;
/// So many namespaces at once are worth lines about progress.
constexpr std::size_t kVeryMany = 50;

/// The networks and routers that a change concerns.
struct Touched {
  std::set<std::string, std::less<>> networks, routers;

  void add(const InventoryChange& change, const Inventory& inventory) {
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
  }
};

}  // namespace

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
      lane_.add(at->first);
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
      lane_.remove(event.name);
      release(event.name, true);
    } else {
      known_.insert(event.name);
      lane_.add(event.name);
    }
  }
  if (batch.lost) {
    look_at_names();
    add_all();
  }
}

void RouterDataPlane::on_devices() {
  const auto batch = devices_->read();
  for (const auto& event : batch.events) {
    const auto name = by_nsid_.find(event.nsid);
    if (name == by_nsid_.end()) {
      continue;
    }
    const auto place = places_.find(name->second);
    if (event.removed && place != places_.end() && place->second.devices.contains(event.ifindex)) {
      // Identity goes with the device, at once.
      place_devices_->drop(place->second, event.ifindex, inside_);
    }
    lane_.add(name->second);
  }
  if (batch.lost) {
    add_all();
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
    lane_.remove(name);
    release(name, true);
  }
  for (const auto& name : now) {
    if (known_.insert(name).second) {
      lane_.add(name);
    }
  }
}

void RouterDataPlane::add_all() {
  for (const auto& name : known_) {
    lane_.add(name);
  }
}

void RouterDataPlane::look_now() {
  constexpr std::chrono::milliseconds kFresh{900}, kAtOnce{100};  // the control thread waits
  const auto now = steady_clock::now();
  if (!running_ || now - looked_ < kFresh) {
    return;
  }
  looked_ = now;
  for (auto left = places_.size(); left > 0 && steady_clock::now() - now < kAtOnce; --left) {
    auto at = places_.upper_bound(asked_);
    if (at == places_.end()) {
      at = places_.begin();
    }
    asked_ = at->first;
    look_at_chains(at->second);
  }
}

/// A namespace that is not what it was, or a device that has gone, is for its next turn.
void RouterDataPlane::look_at_chains(Place& place) {
  const bool has_any = std::ranges::any_of(
      place.devices, [](const auto& device) { return device.second.hooks.has_value(); });
  if (!has_any) {
    return;
  }
  auto opened = sys::NetNamespace::open(place.name);
  const auto looked = opened ? opened->run([&]() -> Status {
    if (const auto cookie = namespace_cookie(); !cookie || *cookie != place.cookie) {
      return fail(ErrorCode::not_found, "another namespace has its name");
    }
    bool all = true;
    for (auto& [ifindex, device] : place.devices) {
      all = all &&
            (!device.hooks || device.hooks->look(device.plan.name) == Hooks::Standing::attached);
    }
    return all ? Status() : fail(ErrorCode::not_found, "a program has gone");
  })
                             : Status(tl::make_unexpected(opened.error()));
  if (!looked) {
    lane_.add(place.name);
  }
}

/// How a long batch goes on, and the end of the first one.
void RouterDataPlane::tell(const WorkQueue::Progress& progress) {
  const auto now = steady_clock::now();
  if (progress.done == 0) {
    batch_told_ = now;
  }
  if (lane_.ready() > kVeryMany && now - batch_told_ > std::chrono::seconds(1)) {
    batch_told_ = now;
    log::info("router data plane: {} namespaces to go", lane_.ready());
  }
  if (progress.ready == 0 && !settled_once_) {
    settle_once();
    const auto state = this->progress();
    log::info("router data plane: {} of {} router and DHCP namespaces served, after {} ms",
              state.served, state.namespaces,
              std::chrono::duration_cast<std::chrono::milliseconds>(now - batch_began_).count());
  }
}

void RouterDataPlane::apply(const InventoryChange& change) {
  if (!running_) {
    return;
  }
  index_->apply(change);
  Touched touched{{change.networks.begin(), change.networks.end()},
                  {change.routers.begin(), change.routers.end()}};
  touched.add(change, *change.before);
  touched.add(change, *change.after);
  // Routers with an interface on a network that changed; one that lost it is in `change` itself.
  for (const auto& network : touched.networks) {
    for (const auto& id : index_->network_owned_ports_of(network)) {
      if (const auto port = change.after->ports.find(id); port != change.after->ports.end()) {
        touched.routers.insert(port->second->device_id);
      }
    }
  }
  const auto add = [&](const std::string& name) {
    if (known_.contains(name)) {
      lane_.add(name);
    }
  };
  for (const auto& id : touched.routers) {
    add("qrouter-" + id);
  }
  for (const auto& id : touched.networks) {
    add("qdhcp-" + id);
  }
}

}  // namespace metatap::dataplane
