// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "admin/registry.hpp"

namespace metatap::apps {

/// What a start of the data plane would meet here, found out without a daemon: whether this process
/// may, whether this kernel takes the programs, and how they are attached. Leaves nothing behind.
[[nodiscard]] std::vector<admin::Finding> kernel_findings();

}  // namespace metatap::apps
