// SPDX-License-Identifier: Apache-2.0
// One port behind a tap, and what would become of its guest's packets.
#include "dataplane/tap_data_plane.hpp"

namespace metatap::dataplane {

PortSight sight_of(const DeviceStatus& status) {
  PortSight sight;
  sight.port_id = status.port_id;
  sight.device = status.name;
  sight.ifindex = status.ifindex;
  sight.vlan = status.vlan;
  sight.state = status.state;
  sight.reason = status.reason;
  sight.attach = status.attach;
  sight.before = status.before;
  sight.slot = status.slot;
  return sight;
}

std::optional<PortSight> TapDataPlane::sight(const std::string& port_id) const {
  const auto point = index_ ? index_->plugged(port_id) : nullptr;
  if (point == nullptr) {
    return std::nullopt;
  }
  auto sight = sight_of(status_of(*point, port_id));
  sight.mac = parse_mac(index_->inventory().ports.find(port_id)->second->mac_address)
                  .value_or(MacAddress{});
  sight.v6 = keeper_.space().has_v6();
  core_->slots->look_at(sight);
  return sight;
}

Result<std::vector<Rehearsed>> TapDataPlane::rehearse(
    const PortSight& port, const std::vector<Sighting>& strangers) const {
  const auto programs = DryRun::load(*core_->programs);
  return programs ? dataplane::rehearse(*programs, port, strangers)
                  : tl::make_unexpected(programs.error());
}

}  // namespace metatap::dataplane
