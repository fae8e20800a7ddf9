// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "inventory/fields.hpp"
#include "metatap/model.hpp"

/// Guests in few words: one object that says what takes a network, a port and an instance
/// otherwise. What it does not say has a default, and ids are made of names, so that they are the
/// same after each start, and after the loss of the database.
namespace metatap {

/// Where a guest is plugged in.
struct GuestInterface {
  std::optional<std::string> device, mac, gateway;
  std::optional<int> vlan;
  std::string network = "default";
  std::vector<std::string> addresses;  ///< ADDRESS or ADDRESS/LENGTH
  std::vector<std::string> name_servers;
  bool dhcp = true;
  AccessPolicy access;
  PortTreatment treatment;
  bool operator==(const GuestInterface&) const = default;
};

struct Guest {
  std::string id;                 ///< empty: made of the name
  std::string host;               ///< where it runs; empty: not said
  Instance instance;              ///< what it has of an instance
  std::vector<std::string> keys;  ///< public SSH keys
  GuestInterface first;           ///< its only interface's keys stand beside its own
  std::vector<GuestInterface> more;
};
const json::Keys<Guest>& guest_keys();

/// What a guest becomes. `first` says at which key of the guest the interface of a port stands.
struct GuestObjects {
  std::shared_ptr<Instance> instance;
  struct Plug {
    std::shared_ptr<Port> port;
    std::string at;  ///< "" or "/interfaces/0"
  };
  std::vector<Plug> ports;
};

/// Of a guest, with the networks and subnets that it implies put into `inventory`. Notes what it
/// lacks as mistakes of `node`.
GuestObjects objects_of(const Guest& guest, const json::Node& node, Inventory& inventory);

}  // namespace metatap
