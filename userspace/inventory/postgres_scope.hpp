// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <pqxx/pqxx>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/model.hpp"

/// What one host needs of an inventory that many share, and whom a change concerns. A host needs
///
///   the guests' ports that are bound to it, on their way to it, or said to be nowhere;
///   of the networks whose router or DHCP server is bound to it: the ports of all guests there, as
///     these ask through it;
///   the other ports of all these guests, which network_data.json lists;
///   the routers and DHCP servers of the networks of all these; and
///   the instances, routers, networks and subnets that these ports name.
///
/// Who is concerned by a change is found by the same rules from the other end.
namespace metatap::postgres {

/// A statement's common table expressions that end with `needed (id, network, device)`: the ports
/// that host $1 needs.
extern const char* const kNeededPorts;

/// Whether what a host needs may be more, or less, than what it held before this object changed:
/// what it refers to is another than before.
[[nodiscard]] bool moves_the_scope(const Inventory& held, const Inventory& now,
                                   std::string_view kind, std::string_view id);

/// Names of hosts; nullopt: all there are.
using Hosts = std::optional<std::set<std::string>>;

/// Adds the hosts that a change concerns, as the rows are now: to be asked before they change, and
/// after.
void add_concerned(pqxx::transaction_base& work, const InventoryChange& change, Hosts& hosts);
/// For add_concerned().
void prepare_concerned(pqxx::connection& connection);

/// A list as PostgreSQL has it in text.
[[nodiscard]] std::string array_of(const std::vector<std::string>& items);

/// Where commits that concern one host, or all that hold their part, are announced.
[[nodiscard]] std::string channel_of(std::string_view host);
inline constexpr std::string_view kChannelOfHosts = "metatap_hosts";

}  // namespace metatap::postgres
