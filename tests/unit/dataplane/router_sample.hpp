// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "metatap/model.hpp"

namespace metatap::dataplane {

/// A router with an interface on a network that has one guest, and a network without either.
inline constexpr const char* kRouter = "11111111-0000-4000-8000-000000000001";
inline constexpr const char* kNet = "22222222-0000-4000-8000-000000000001";
inline constexpr const char* kOther = "22222222-0000-4000-8000-000000000002";
inline constexpr const char* kInterface = "aaaaaaaa-aaaa-4000-8000-000000000001";
inline constexpr const char* kGuest = "bbbbbbbb-bbbb-4000-8000-000000000001";

template <class T>
void put(Inventory::Table<T>& table, T value) {
  const std::string id = value.id;
  table[id] = std::make_shared<const T>(std::move(value));
}

inline Port make_port(std::string id, std::string network, std::string device_id, std::string owner,
                      std::vector<std::string> addresses, std::string mac = "fa:16:3e:00:00:10") {
  Port port;
  port.id = std::move(id);
  port.network_id = std::move(network);
  port.device_id = std::move(device_id);
  port.device_owner = std::move(owner);
  port.mac_address = std::move(mac);
  for (auto& address : addresses) {
    port.fixed_ips.push_back({"", std::move(address)});
  }
  return port;
}

inline Inventory sample() {
  Inventory inventory;
  put(inventory.routers, Router{kRouter, "", "", true});
  put(inventory.networks, Network{kNet, "", "", {}, true});
  put(inventory.networks, Network{kOther, "", "", {}, true});
  put(inventory.ports,
      make_port(kInterface, kNet, kRouter, "network:router_interface", {"10.0.0.1"}));
  put(inventory.ports, make_port(kGuest, kNet, "instance", "compute:nova", {"10.0.0.10"}));
  return inventory;
}

}  // namespace metatap::dataplane
