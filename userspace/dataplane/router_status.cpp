// SPDX-License-Identifier: Apache-2.0
// What `metatap status` and `metatap doctor` show of routers: the only place where the states of
// namespaces and of devices in them become sentences.
#include <fmt/format.h>

#include <chrono>

#include "dataplane/router_data_plane.hpp"

namespace metatap::dataplane {

std::string explain(const Place& place) {
  switch (place.state) {
    case PlaceState::unknown:
      return fmt::format("no {} {} in the inventory",
                         place.what.path == Path::router ? "router" : "network", place.what.id);
    case PlaceState::down:
      return "admin_state_up is false on the router";
    case PlaceState::denied:
    case PlaceState::failed:
      return place.error;
    case PlaceState::appearing:
    case PlaceState::waiting:
    case PlaceState::served:
      break;
  }
  return {};
}

std::string explain(const RouterProblem& problem, Path path) {
  if (problem.state == DeviceState::conflict) {
    return fmt::format("port {} is served on a device of {} already", problem.port_id,
                       problem.about);
  }
  if (problem.state == DeviceState::foreign) {
    return path == Path::router
               ? fmt::format("port {} belongs to {}, not to this router", problem.port_id,
                             problem.about.empty() ? "nobody" : problem.about)
               : fmt::format("port {} is of network {}, not of this one", problem.port_id,
                             problem.about);
  }
  if (problem.about.empty()) {
    return "its name has no 11 characters of a port's id";
  }
  return problem.ports == 0
             ? fmt::format("no port of the inventory begins with {}", problem.about)
             : fmt::format("{} ports of the inventory begin with {}", problem.ports, problem.about);
}

RouterDataPlane::Progress RouterDataPlane::progress() const {
  Progress progress;
  progress.namespaces = known_.size();
  progress.pending = lane_.ready();
  for (const auto& [name, place] : places_) {
    progress.served += place.state == PlaceState::served ? 1 : 0;
  }
  return progress;
}

RouterDeviceStatus status_of(const PlaceDevice& device, std::string_view attach) {
  RouterDeviceStatus status;
  status.name = device.plan.name;
  status.ifindex = device.plan.ifindex;
  status.port_id = device.plan.port_id;
  status.network_id = device.plan.network_id;
  status.slot = device.binding.slot();
  status.attach = attach;
  status.ports = device.ports.size();
  if (device.hooks) {
    status.before = device.hooks->before();
    status.reason = device.hooks->problem();
  }
  if (!device.error.empty()) {
    status.state = DeviceState::failed;
    status.reason = device.error;
  } else if (!device.plan.enabled) {
    status.state = DeviceState::disabled;
    status.reason = "admin_state_up is false on its network or port";
  } else {
    status.state = DeviceState::steered;
  }
  return status;
}

std::vector<PlaceStatus> RouterDataPlane::places() const {
  std::vector<PlaceStatus> all;
  for (const auto& [name, place] : places_) {
    PlaceStatus status;
    status.name = name;
    status.kind = place.what.path == Path::router ? "router" : "dhcp";
    status.id = place.what.id;
    status.state = place.state;
    status.reason = place.state == PlaceState::appearing
                        ? fmt::format("looked for it {} times", lane_.failures(name))
                        : explain(place);
    for (const auto& [listener, ifindex] : place.listeners) {
      status.listeners.push_back(listener);
    }
    for (const auto& [ifindex, device] : place.devices) {
      status.devices.push_back(status_of(device, steering_->attach_of(device)));
    }
    for (const auto& problem : place.problems) {
      RouterDeviceStatus entry;
      entry.name = problem.device;
      entry.state = problem.state;
      entry.reason = explain(problem, place.what.path);
      status.devices.push_back(std::move(entry));
    }
    status.changes = journal_->changes(place.cookie);
    all.push_back(std::move(status));
  }
  return all;
}

std::vector<ChainStatus> RouterDataPlane::disturbed_chains() const {
  std::vector<ChainStatus> all;
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      if (auto problem = device.hooks ? device.hooks->problem() : ""; !problem.empty()) {
        all.push_back(
            {place.name + "/" + device.plan.name, device.hooks->before(), std::move(problem)});
      }
    }
  }
  return all;
}

std::vector<std::pair<std::string, Overtaking>> RouterDataPlane::overtakings() const {
  std::vector<std::pair<std::string, Overtaking>> all;
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      if (!device.hooks || !device.hooks->before().empty()) {
        continue;
      }
      if (auto last = device.hooks->overtaken()) {
        all.emplace_back(place.name + "/" + device.plan.name, *std::move(last));
      }
    }
  }
  return all;
}

std::string RouterDataPlane::problem() const {
  std::size_t others = 0;
  std::string first;
  for (const auto& [name, place] : places_) {
    if (place.state != PlaceState::denied && place.state != PlaceState::failed) {
      continue;
    }
    if (first.empty()) {
      first = name + ": " + explain(place);
    } else {
      ++others;
    }
  }
  return others == 0 ? first : fmt::format("{} (and {} more)", first, others);
}

std::vector<OldPath> RouterDataPlane::old_paths(std::size_t limit) const {
  std::vector<OldPath> all;
  const auto proxies = haproxies();
  constexpr std::chrono::seconds kPatience{2};  // the control thread waits meanwhile
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (const auto& [name, place] : places_) {
    if (place.state == PlaceState::unknown) {
      continue;
    }
    if (all.size() == limit || std::chrono::steady_clock::now() > deadline) {
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
    if (steering_->owns_metadata_port()) {
      std::erase_if(old->listeners, [](const auto& listener) { return listener.ends_with(":80"); });
    }
    all.push_back(*std::move(old));
  }
  return all;
}

std::vector<SlotStatus> RouterDataPlane::slots() const {
  std::vector<SlotStatus> all;
  if (!core_->programs) {
    return all;
  }
  const auto add = [&](std::uint32_t slot, const std::string& port_id, const std::string& device) {
    SlotStatus status;
    status.slot = slot;
    status.port_id = port_id;
    status.device = device;
    all.push_back(std::move(status));
  };
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      const auto where = place.name + "/" + device.plan.name;
      add(device.binding.slot(), {}, where);
      for (const auto& [id, port] : device.ports) {
        add(port.slot(), id, where);
      }
    }
  }
  read_counters(core_->programs->maps(), all);
  return all;
}

}  // namespace metatap::dataplane
