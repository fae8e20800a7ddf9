// SPDX-License-Identifier: Apache-2.0
// One port behind a router or DHCP server, and what would become of its guest's packets.
#include "dataplane/router_data_plane.hpp"

namespace metatap::dataplane {
namespace {

/// As the port's own device, or that behind which it is, has it.
PortSight sight_of(const Place& place, const PlaceDevice& device, std::string_view attach,
                   const std::string& port_id, std::uint32_t slot) {
  const auto status = status_of(device, attach);
  PortSight sight;
  sight.port_id = port_id;
  sight.via = place.what.path;
  sight.place = place.name;
  sight.place_id = place.what.id;
  sight.device = status.name;
  sight.ifindex = status.ifindex;
  sight.v6 = device.plan.v6;
  sight.state = status.state;
  sight.reason = status.reason;
  sight.attach = status.attach;
  sight.before = status.before;
  sight.slot = slot;
  return sight;
}

}  // namespace

std::vector<PortSight> RouterDataPlane::ports() const {
  std::vector<PortSight> all;
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      const auto attach = steering_->attach_of(device);
      if (!device.plan.port_id.empty()) {
        all.push_back(sight_of(place, device, attach, device.plan.port_id, device.binding.slot()));
        all.back().guests = device.ports.size();
      }
      for (const auto& [id, port] : device.ports) {
        all.push_back(sight_of(place, device, attach, id, port.slot()));
      }
    }
  }
  return all;
}

std::vector<PortSight> RouterDataPlane::sights(const std::string& port_id) const {
  std::vector<PortSight> all;
  for (const auto& [name, place] : places_) {
    for (const auto& [ifindex, device] : place.devices) {
      const auto port = device.ports.find(port_id);
      const bool own = device.plan.port_id == port_id;
      if (!own && port == device.ports.end()) {
        continue;
      }
      auto sight = sight_of(place, device, steering_->attach_of(device), port_id,
                            own ? device.binding.slot() : port->second.slot());
      sight.guests = own ? device.ports.size() : 0;
      if (const auto found = index_->inventory().ports.find(port_id);
          found != index_->inventory().ports.end()) {
        sight.mac = parse_mac(found->second->mac_address).value_or(MacAddress{});
      }
      core_->slots->look_at(sight);
      for (const auto& source : device.plan.sources) {
        if (source.port_id == port_id) {
          for (const auto& address : source.addresses) {
            sight.addresses.push_back({address, source.mac, true, false});
          }
        }
      }
      all.push_back(std::move(sight));
    }
  }
  return all;
}

Result<std::vector<Rehearsed>> RouterDataPlane::rehearse(
    const PortSight& port, const std::vector<Sighting>& strangers) const {
  if (!core_->programs) {
    return fail(ErrorCode::unsupported, "there are no programs: --steering=listen");
  }
  const auto programs = DryRun::load(*core_->programs);
  if (!programs) {
    return tl::make_unexpected(programs.error());
  }
  const auto inside = sys::NetNamespace::open(port.place);
  if (!inside) {
    return tl::make_unexpected(inside.error());
  }
  return inside->run([&] { return dataplane::rehearse(*programs, port, strangers); });
}

}  // namespace metatap::dataplane
