// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "importer/tables.hpp"

namespace metatap::importer {

/// What is in a document.
struct Counts {
  std::size_t networks = 0, subnets = 0, routers = 0, ports = 0, servers = 0;
  /// Objects that refer to what was gone by the time it was asked for, and so have gone too.
  std::size_t left_out = 0;
};

struct Composed {
  std::string text;
  Counts counts;
};

/// The document `metatap-inventory/1` of these tables. A server's ports stand in the order in which
/// Nova attached them. The ports of a trunk get the parent's device, their VLAN and, where they
/// have no owner of their own, the parent's.
[[nodiscard]] Composed compose(const Tables& tables);

}  // namespace metatap::importer
