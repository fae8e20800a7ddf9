// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "inventory/json_reader.hpp"
#include "metatap/model.hpp"

/// From JSON to objects: what one object says of itself, each value in its canonical spelling. What
/// it says of others is check_references()' matter, what it leaves out is fill_defaults()'.
///
/// All throw json::Refused, naming the place, where a key is unknown or missing or a value is none.
namespace metatap {

std::shared_ptr<Network> read_network(const json::Node& node);
std::shared_ptr<Subnet> read_subnet(const json::Node& node);
std::shared_ptr<Router> read_router(const json::Node& node);
std::shared_ptr<Port> read_port(const json::Node& node);
std::shared_ptr<Instance> read_instance(const json::Node& node);

}  // namespace metatap
