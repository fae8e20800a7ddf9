// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "admin/inventory_actions.hpp"
#include "admin/registry.hpp"
#include "inventory/service.hpp"
#include "metatap/model.hpp"
#include "metatap/result.hpp"

/// One guest's port, by whatever the operator knows of it.
namespace metatap::admin {

/// The ports of `served` that `wanted` says: by id, or by 8 characters of its beginning at least;
/// by host device, fixed address or MAC; by the uuid or a name of the instance in `known`. Which of
/// these is meant is not asked: all that fit, in order of their ids.
[[nodiscard]] std::vector<std::shared_ptr<const Port>> find_ports(const Inventory& served,
                                                                  const Inventory& known,
                                                                  std::string_view wanted);

/// The one port that is meant: of several, one of `host`, if it is not empty. ErrorCode::not_found;
/// ErrorCode::conflict names those that fit.
[[nodiscard]] Result<std::shared_ptr<const Port>> find_port(const Inventory& served,
                                                            const Inventory& known,
                                                            std::string_view wanted,
                                                            std::string_view host);

/// What there is to say of a port by the inventory alone, as a row of `metatap ports`.
[[nodiscard]] Json port_row(const Port& port, const Inventory& known);

/// Of a port, for `metatap port` and `explain`; `about` as the operator said it.
struct PortInQuestion {
  std::shared_ptr<const Port> port;
  std::shared_ptr<const Inventory> served, known;
};
/// Finds it in what is served now.
[[nodiscard]] Result<PortInQuestion> port_in_question(InventoryService& inventory,
                                                      const ServedPorts& ports,
                                                      std::string_view wanted);

/// GET /v1/ports, one row a port, and GET /v1/ports/{}, all that is known of one. Ports that are
/// bound to other hosts are no rows, unless they are served here all the same, as through a router.
/// All outlive the registry's use.
void register_ports(Registry& registry, InventoryService& inventory, ServedPorts ports = {});

}  // namespace metatap::admin
