// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "agent/ovn_port.hpp"
#include "metatap/model.hpp"

namespace metatap::agent {

/// Whose a port is while OVN cannot be asked: what it said before, held against what Open vSwitch
/// says now. No database in here.
struct OvnRecall {
  const Port& before;            ///< as OVN had it last
  const Port* parent = nullptr;  ///< of a trunk's subport: its parent, as OVN had that
  const OvnTap* tap = nullptr;   ///< its own; of a subport, its parent's
  bool taps_known = false;       ///< the host's database has been read: no tap is no tap
};

/// Whether the guest is still the same one: the device that is plugged in for the port is of the
/// instance that the port was of (vm-uuid, as Nova writes it, or libvirt's vm-id), and has the MAC
/// that the port had (attached-mac; of a subport, its parent's).
[[nodiscard]] bool same_guest(const OvnRecall& recall);

/// The port as it was, on the device that it has now. Without an owner where nothing shows that the
/// guest is the same, so that its guest is told to come again. Null: it is not plugged in here.
[[nodiscard]] std::shared_ptr<const Port> recalled(const OvnRecall& recall);

/// The port that this one's frames come by, on the same device without a tag. Null: it is none's
/// subport, or nobody knows whose.
[[nodiscard]] const Port* parent_of(const Port& port, const Inventory::Table<Port>& ports);

/// The ports to be kept once those of `touched` are as in `now`. In the kept form an address has
/// its network's id for its subnet's, which OVN does not tell and an inventory must have. Null:
/// they are the same as before.
[[nodiscard]] std::shared_ptr<const Inventory> kept_after(
    const Inventory& kept, const std::set<std::string, std::less<>>& touched, const Inventory& now);

}  // namespace metatap::agent
