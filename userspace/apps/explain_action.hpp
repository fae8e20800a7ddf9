// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "admin/inventory_actions.hpp"
#include "admin/registry.hpp"
#include "agent/stage.hpp"
#include "api/stage.hpp"
#include "apps/neighbours.hpp"
#include "apps/settings.hpp"
#include "apps/to_supervisor.hpp"
#include "inventory/service.hpp"
#include "proxy/stage.hpp"

namespace metatap::apps {

/// The stages that an explanation asks, of this process or in another one; null: there is none.
struct ExplainedStages {
  ToSupervisor* data_plane = nullptr;
  const proxy::ProxyStage* proxy = nullptr;
  agent::AgentStage* agent = nullptr;
  Neighbour* next_agent = nullptr;
  api::ApiStage* api = nullptr;
  Neighbour* next_api = nullptr;
};

/// GET /v1/ports/{}/explain: what becomes of a request of that port's guest, from its first packet
/// to the answer, without a packet and without a trace: nothing is counted, but for what a stage in
/// another process counts of the one question that it is asked. Whether that answered is known to
/// /healthz from then on. All outlive the server that serves the registry.
void register_explain(admin::Registry& registry, const Settings& settings,
                      InventoryService& inventory, admin::ServedPorts ports,
                      ExplainedStages stages);

}  // namespace metatap::apps
