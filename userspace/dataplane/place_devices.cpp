// SPDX-License-Identifier: Apache-2.0
#include "dataplane/place_devices.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

using std::chrono::steady_clock;

void report(Place& place, std::vector<RouterProblem> problems) {
  for (const auto& problem : problems) {
    if (std::ranges::find(place.problems, problem) == place.problems.end()) {
      log::warn("{}: {}: {}", place.name, problem.device, explain(problem, place.what.path));
    }
  }
  place.problems = std::move(problems);
}

}  // namespace

Status PlaceDevices::settle(Place& place, PlacePlan plan, const Steering::Inside& inside) {
  std::vector<unsigned> gone;
  for (auto& [ifindex, device] : place.devices) {
    const auto wanted = std::ranges::find(plan.devices, ifindex, &RouterDevice::ifindex);
    const bool same = wanted != plan.devices.end() && wanted->name == device.plan.name &&
                      wanted->port_id == device.plan.port_id &&
                      wanted->network_id == device.plan.network_id &&
                      wanted->enabled == device.plan.enabled && steering_.goes_on(device, *wanted);
    if (!same) {
      gone.push_back(ifindex);
    }
  }
  for (const unsigned ifindex : gone) {
    drop(place, ifindex, true);
  }
  report(place, std::move(plan.problems));
  if (plan.devices.empty()) {
    return {};
  }
  if (auto ready = steering_.prepare(place, inside, plan); !ready) {
    return ready;
  }
  for (auto& wanted : plan.devices) {
    const auto held = place.devices.find(wanted.ifindex);
    if (held == place.devices.end()) {
      add(place, std::move(wanted));
    } else {
      held->second.plan.v6 = wanted.v6;
      update(place, held->second, std::move(wanted.sources));
    }
  }
  return {};
}

void PlaceDevices::add(Place& place, RouterDevice wanted) {
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
      return;
    }
  }
  auto sources = std::exchange(wanted.sources, {});
  auto& device = place.devices[wanted.ifindex];
  device.plan = std::move(wanted);
  update(place, device, std::move(sources));
}

/// Whatever is missing of a device: identity, ports, programs.
void PlaceDevices::update(Place& place, PlaceDevice& device, std::vector<RouterSource> wanted) {
  Status done;
  if (!device.binding.origin()) {
    done = steering_.identify(place, device);
  }
  if (done) {
    done = update_ports(place, device, std::move(wanted));
    if (auto connected = connect(place, device); !connected) {
      done = std::move(connected);
    }
  }
  auto error = done ? std::string() : done.error().message;
  if (!done && device.error != error) {
    log::warn("{}: {}: {}", place.name, device.plan.name, error);
  }
  device.error = std::move(error);
}

Status PlaceDevices::connect(Place& place, PlaceDevice& device) {
  const auto now = steady_clock::now();
  if (device.refused && now < device.refused->until) {
    return tl::make_unexpected(device.refused->error);
  }
  auto connected = steering_.connect(place, device);
  if (connected) {
    device.refused.reset();
  } else {
    const auto pause = device.refused ? 2 * device.refused->pause : std::chrono::milliseconds(1);
    device.refused = {std::min(pause, longest_), now + std::min(pause, longest_),
                      connected.error()};
  }
  return connected;
}

Status PlaceDevices::update_ports(Place& place, PlaceDevice& device,
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
    auto made = steering_.identify_port(place, device, source);
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

void PlaceDevices::drop(Place& place, unsigned ifindex, bool inside) {
  const auto found = place.devices.find(ifindex);
  if (found == place.devices.end()) {
    return;
  }
  steering_.disconnect(place, found->second, inside);
  const auto port_id = found->second.plan.port_id;
  place.devices.erase(found);
  const auto claim = claims_.find(port_id);
  if (claim == claims_.end() || claim->second != DeviceAt{place.name, ifindex}) {
    return;
  }
  claims_.erase(claim);
  if (const auto others = waiting_.extract(port_id)) {
    for (const auto& name : others.mapped()) {
      look_again_(name);
    }
  }
}

void PlaceDevices::drop_all(Place& place, bool inside) {
  while (!place.devices.empty()) {
    drop(place, place.devices.begin()->first, inside);
  }
}

}  // namespace metatap::dataplane
