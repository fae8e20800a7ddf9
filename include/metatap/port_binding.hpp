// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "metatap/model.hpp"

/// Whose a port is, of several hosts with one inventory, by Neutron's binding. One rule for what a
/// host steers, shows, and holds with `[inventory] scope = host` (inventory/postgres_scope.cpp has
/// it as SQL), and for what two ports may both have.
namespace metatap {

/// Bound to that host, on its way to it (live migration), or bound nowhere and so perhaps there.
/// `host` empty: it is not known which one that is, and everything may be there.
[[nodiscard]] inline bool may_be_at(const Port& port, std::string_view host) {
  return host.empty() || port.host.empty() || port.host == host || port.next_host == host;
}

/// Whether there may be a host at which both are.
[[nodiscard]] inline bool may_meet(const Port& one, const Port& other) {
  return one.host.empty() || may_be_at(other, one.host) ||
         (!one.next_host.empty() && may_be_at(other, one.next_host));
}

}  // namespace metatap
