// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "admin/registry.hpp"
#include "base/config.hpp"
#include "inventory/service.hpp"

namespace metatap::admin {

/// Comes back once what the inventory says has been put into effect, with what could not be: a
/// sentence for each device or namespace.
using Settled = std::function<boost::asio::awaitable<std::vector<std::string>>()>;

/// What is served here.
struct ServedPorts {
  /// The ports that somebody else tells of; null: the inventory's.
  std::function<std::shared_ptr<const Inventory>()> told;
  /// The host whose guests' devices are steered, as ports are bound to it; empty: none are here.
  std::string host;
};

/// What an operator can see of the inventory and do with it: the sections and actions under
/// /v1/inventory and /v1/instances. Both outlive the server that serves the registry. A change is
/// answered after `settled`; null: at once.
void register_inventory(Registry& registry, InventoryService& inventory, Settled settled = nullptr);

/// GET /v1/config: the settings that were read, secrets masked, each with file and line.
void register_config(Registry& registry, const Config& config);

/// The instance an operator means: by its uuid, or else by the name, display name or host name that
/// only it has.
Result<std::shared_ptr<const Instance>> find_instance(const Inventory& inventory,
                                                      std::string_view wanted);

}  // namespace metatap::admin
