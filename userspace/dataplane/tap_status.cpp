// SPDX-License-Identifier: Apache-2.0
// What `metatap status` shows of taps: the only place where their states become sentences.
#include <fmt/format.h>

#include <algorithm>

#include "dataplane/tap_data_plane.hpp"

namespace metatap::dataplane {

DeviceStatus TapDataPlane::status_of(const TapPoint& point, const std::string& port_id) const {
  DeviceStatus status;
  status.name = point.device;
  status.vlan = point.vlan;
  status.port_id = port_id;
  const auto& port = *index_->inventory().ports.find(port_id)->second;
  status.network_id = port.network_id;
  if (const auto here = ifindex_of_.find(point.device); here != ifindex_of_.end()) {
    status.ifindex = here->second;
  }
  std::string problem;
  if (const auto hooks = hooks_.find(status.ifindex); hooks != hooks_.end()) {
    status.attach = hooks->second.kind();
    status.before = hooks->second.before();
    problem = hooks->second.problem();
  }
  const auto say = [&](DeviceState state, std::string reason) {
    status.state = state;
    status.reason = std::move(reason);
    return status;
  };
  const auto tap = taps_.find(point);
  const auto error = errors_.find(point.device);
  if (tap != taps_.end() && tap->second.port_id == port_id) {
    status.slot = tap->second.binding.slot();
    if (!tap->second.enabled) {
      return say(DeviceState::disabled, "admin_state_up is false on the port or its network");
    }
    if (error != errors_.end()) {
      return say(hooks_.contains(status.ifindex) ? DeviceState::steered : DeviceState::failed,
                 error->second);
    }
    if (tap->second.left_out != 0) {
      problem +=
          fmt::format("{}{} of its addresses may not ask: there is room for {} a family",
                      problem.empty() ? "" : "; ", tap->second.left_out, MT_FIRST_LEARNED - 1);
    }
    return say(DeviceState::steered, std::move(problem));
  }
  const bool elsewhere = !index_->may_be_here(port_id);
  if (elsewhere && (status.ifindex == 0 || !index_->claims_of(point).contains(port_id))) {
    return say(
        DeviceState::elsewhere,
        fmt::format("the port is bound to host '{}', and this is '{}'", port.host, index_->host()));
  }
  const auto device = device_of(point.device);
  if (is_foreign(*index_, point, device, port)) {
    return say(DeviceState::refused,
               fmt::format("the device was given {}, which is not for the port's MAC {}",
                           to_string(*device.given_mac), port.mac_address));
  }
  if (tap != taps_.end() && !tap->second.unknown()) {
    return say(DeviceState::conflict, "port " + tap->second.port_id + " has this device already");
  }
  if (status.ifindex == 0) {
    return say(DeviceState::absent, "no device named " + point.device);
  }
  if (error != errors_.end()) {
    return say(DeviceState::failed, error->second);
  }
  if (!core_->options.may_steer(point.device)) {
    return say(DeviceState::excluded, "[dataplane] devices does not match it");
  }
  if (devices_.waits(point.device)) {
    return say(DeviceState::pending, "it has not had its turn yet");
  }
  return say(DeviceState::conflict, "another port claims this device");
}

std::vector<DeviceStatus> TapDataPlane::devices() const {
  std::vector<DeviceStatus> all;
  if (!index_) {
    return all;
  }
  for (const auto& [point, ports] : index_->claims()) {
    for (const auto& id : ports) {
      if (auto status = status_of(point, id); status.state != DeviceState::elsewhere) {
        all.push_back(std::move(status));
      }
    }
  }
  // A device is told of by the first port alone: its name may be on every host.
  for (const auto& [point, ports] : index_->claims_elsewhere()) {
    if (device_of(point.device).ifindex != 0 && index_->claims_of(point).empty()) {
      all.push_back(status_of(point, *ports.begin()));
    }
  }
  add_unclaimed(all);
  return all;
}

/// Devices that are no port's.
void TapDataPlane::add_unclaimed(std::vector<DeviceStatus>& all) const {
  const auto add = [&](const std::string& name, DeviceState state, std::string reason) {
    DeviceStatus status;
    status.name = name;
    if (const auto tap = taps_.find({name, 0}); tap != taps_.end()) {
      status.slot = tap->second.binding.slot();
    }
    if (const auto here = ifindex_of_.find(name); here != ifindex_of_.end()) {
      status.ifindex = here->second;
    }
    if (const auto hooks = hooks_.find(status.ifindex); hooks != hooks_.end()) {
      status.attach = hooks->second.kind();
      status.before = hooks->second.before();
    }
    status.state = state;
    status.reason = std::move(reason);
    all.push_back(std::move(status));
  };
  for (const auto& [ifindex, hooks] : hooks_) {
    const auto name = name_of_.find(ifindex);
    if (name != name_of_.end() && index_->points_of(name->second).empty()) {
      add(name->second, DeviceState::unclaimed,
          taps_.contains({name->second, 0})
              ? "no port of this host has this device; its requests wait for one, and are "
                "answered 503 if none comes"
              : "no port of this host has this device; its metadata requests are refused");
    }
  }
  for (const auto& [name, message] : errors_) {
    if (index_->points_of(name).empty()) {
      add(name, DeviceState::failed, message);
    }
  }
}

TapDataPlane::Bindings TapDataPlane::bindings() const {
  Bindings all{core_->options.host};
  if (!index_) {
    return all;
  }
  for (const auto& [id, port] : index_->inventory().ports) {
    if (!port->host.empty() && index_->plugged(id) != nullptr) {
      ++(index_->may_be_here(id) ? all.here : all.elsewhere);
    }
  }
  return all;
}

std::vector<SlotStatus> TapDataPlane::slots() const {
  std::vector<SlotStatus> all;
  for (const auto& [point, tap] : taps_) {
    if (tap.unknown()) {
      continue;  // nobody's: devices() has them
    }
    SlotStatus status;
    status.slot = tap.binding.slot();
    status.port_id = tap.port_id;
    status.device = point.device;
    status.owner = tap.binding.origin()->owner;
    all.push_back(std::move(status));
  }
  read_counters(core_->programs->maps(), all);
  return all;
}

std::size_t TapDataPlane::without_port() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(taps_, [](const auto& tap) { return tap.second.unknown(); }));
}

std::vector<ReasonStatus> TapDataPlane::reasons() const {
  return count_reasons(*core_->programs);
}

std::vector<ChainStatus> TapDataPlane::disturbed_chains() const {
  std::vector<ChainStatus> all;
  const auto add = [&](const std::string& device, const Hooks& hooks) {
    if (auto problem = hooks.problem(); !problem.empty()) {
      all.push_back({device, hooks.before(), std::move(problem)});
    }
  };
  if (const auto* return_path = keeper_.return_path()) {
    add(keeper_.space().host_device(), *return_path);
  }
  for (const auto& [ifindex, hooks] : hooks_) {
    if (const auto name = name_of_.find(ifindex); name != name_of_.end()) {
      add(name->second, hooks);
    }
  }
  return all;
}

std::vector<std::pair<std::string, Overtaking>> TapDataPlane::overtakings() const {
  std::vector<std::pair<std::string, Overtaking>> all;
  const auto add = [&](const std::string& device, const Hooks& hooks) {
    if (auto last = hooks.overtaken(); last && hooks.before().empty()) {
      all.emplace_back(device, *std::move(last));
    }
  };
  if (const auto* return_path = keeper_.return_path()) {
    add(keeper_.space().host_device(), *return_path);
  }
  for (const auto& [ifindex, hooks] : hooks_) {
    if (const auto name = name_of_.find(ifindex); name != name_of_.end()) {
      add(name->second, hooks);
    }
  }
  return all;
}

std::map<std::string, std::string> TapDataPlane::renamed() const {
  // The first octet of what a device is given is not the guest's.
  const auto tail = [](const MacAddress& mac) {
    return std::vector<std::uint8_t>(mac.begin() + 1, mac.end());
  };
  std::map<std::vector<std::uint8_t>, std::string> by_mac;
  for (const auto& [ifindex, name] : name_of_) {
    if (const auto given = guest_macs_.given(ifindex)) {
      by_mac.emplace(tail(*given), name);
    }
  }
  std::map<std::string, std::string> all;
  for (const auto& [point, ports] : index_->claims()) {
    if (by_mac.empty() || point.vlan != 0 || ifindex_of_.contains(point.device)) {
      continue;
    }
    for (const auto& id : ports) {
      const auto mac = parse_mac(index_->inventory().ports.find(id)->second->mac_address);
      const auto found = mac ? by_mac.find(tail(*mac)) : by_mac.end();
      if (found != by_mac.end()) {
        all.emplace(id, found->second);
      }
    }
  }
  return all;
}

std::string TapDataPlane::where() const {
  return fmt::format("namespace {}, maps {}, attach {}", core_->options.namespace_name,
                     core_->options.pin_path.string(),
                     keeper_.return_path() ? keeper_.return_path()->kind() : "nothing");
}

}  // namespace metatap::dataplane
