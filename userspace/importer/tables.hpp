// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "importer/known_keys.hpp"

namespace metatap::importer {

/// Objects by id, reduced to what the inventory takes of them (KnownKeys), and beside it:
/// `trunk_details` of a port, as Neutron has it; `addresses` of a server, as a list of the MACs of
/// its ports in the order in which Nova has attached them.
using Table = std::map<std::string, Json>;

struct Tables {
  Table networks, subnets, routers, ports, servers;
};

}  // namespace metatap::importer
