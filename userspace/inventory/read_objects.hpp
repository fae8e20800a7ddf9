// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/fields.hpp"
#include "metatap/model.hpp"

/// The tables of keys of the document's objects: what one object says of itself. What it says of
/// others is check_references()' matter, what it leaves out is fill_defaults()'.
namespace metatap {

// As Neutron's API shows them (neutron_keys.cpp); its further keys are ignored by name.
const json::Keys<Network>& network_keys();
const json::Keys<Subnet>& subnet_keys();
const json::Keys<Router>& router_keys();
const json::Keys<Port>& port_keys();

/// As Nova has them (instance_keys.cpp).
const json::Keys<Instance>& instance_keys();
/// The same as Nova's API shows them, under its names (server_keys.cpp).
const json::Keys<Instance>& server_keys();

}  // namespace metatap
