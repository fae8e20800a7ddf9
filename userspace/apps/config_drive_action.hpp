// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "admin/registry.hpp"
#include "api/stage.hpp"
#include "inventory/service.hpp"

namespace metatap::apps {

/// POST /v1/instances/{}/config-drive: the drive's label and files (contents in base64), of which
/// `metatap config-drive` makes an image. The body may be {"admin_pass": "…"}; it is put in, and
/// forgotten. All three outlive the server that serves the registry.
void register_config_drive(admin::Registry& registry, api::ApiStage& stage,
                           InventoryService& inventory);

}  // namespace metatap::apps
