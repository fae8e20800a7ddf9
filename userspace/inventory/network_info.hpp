// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inventory/json_reader.hpp"

namespace metatap::json {

/// Nova's network cache is carried, with whatever keys it has; only the shape of what is read from
/// it is checked. Throws Refused.
void check_vif(const Node& vif);

}  // namespace metatap::json
