// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "sys/netlink.hpp"

namespace metatap::sys {

/// Did somebody set this link's MAC, or did the kernel make it up? rtnetlink does not say, sysfs
/// does. nullopt: it cannot be told; sysfs may show another namespace's devices, or none.
[[nodiscard]] std::optional<bool> mac_was_set(const Link& link);

}  // namespace metatap::sys
