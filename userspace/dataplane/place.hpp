// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace metatap::dataplane {

/// How it stands with a router's or DHCP namespace.
enum class PlaceState : std::uint8_t {
  appearing,  ///< its name is there; the namespace is mounted over it in a moment
  waiting,    ///< ours, but no device that faces guests is in it
  served,
  unknown,  ///< the inventory has no such router or network
  down,     ///< admin_state_up of the router is false: left alone
  denied,   ///< we may not enter it, or may not do there what is needed
  failed,
};

/// How it stands with a device, of the host or in a namespace.
enum class DeviceState : std::uint8_t {
  steered,
  disabled,   ///< admin_state_up of its network or port is false: requests are refused
  absent,     ///< a port names a device that does not exist
  excluded,   ///< [dataplane] devices does not match it
  unclaimed,  ///< ours by its name, but no port's: requests wait for one, and are refused
  unknown,    ///< its name stands for no port
  foreign,    ///< its port is another router's or network's
  refused,    ///< by its MAC it is another guest's than its port's
  pending,    ///< it has not had its turn yet
  conflict,   ///< its port is served elsewhere, or another port has the device
  elsewhere,  ///< its port is bound to another host
  failed,
};

/// The words that `metatap status` shows.
[[nodiscard]] constexpr std::string_view name_of(PlaceState state) {
  switch (state) {
    case PlaceState::appearing:
      return "being made";
    case PlaceState::waiting:
      return "waiting";
    case PlaceState::served:
      return "served";
    case PlaceState::unknown:
      return "unknown";
    case PlaceState::down:
      return "down";
    case PlaceState::denied:
      return "denied";
    case PlaceState::failed:
      break;
  }
  return "error";
}

[[nodiscard]] constexpr std::string_view name_of(DeviceState state) {
  switch (state) {
    case DeviceState::steered:
      return "steered";
    case DeviceState::disabled:
      return "disabled";
    case DeviceState::absent:
      return "absent";
    case DeviceState::excluded:
      return "excluded";
    case DeviceState::unclaimed:
      return "unclaimed";
    case DeviceState::unknown:
      return "unknown";
    case DeviceState::foreign:
      return "foreign";
    case DeviceState::refused:
      return "refused";
    case DeviceState::pending:
      return "pending";
    case DeviceState::conflict:
      return "conflict";
    case DeviceState::elsewhere:
      return "elsewhere";
    case DeviceState::failed:
      break;
  }
  return "error";
}

}  // namespace metatap::dataplane
