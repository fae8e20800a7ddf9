// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace metatap::sys {

/// The names ("CAP_BPF") of those of `wanted` that this process does not have in effect.
/// CAP_SYS_ADMIN stands in for CAP_BPF, as in the kernel.
[[nodiscard]] std::vector<std::string> missing_capabilities(const std::vector<unsigned>& wanted);

}  // namespace metatap::sys
