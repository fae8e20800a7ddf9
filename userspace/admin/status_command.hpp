// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "admin/terminal.hpp"

namespace metatap::admin {

/// `metatap status`: whether guests are served first, and then section by section. `now`: seconds
/// since 1970.
[[nodiscard]] std::string status_text(const Terminal& terminal,
                                      const nlohmann::ordered_json& status, std::int64_t now);
[[nodiscard]] Exit show_status(const Terminal& terminal);

}  // namespace metatap::admin
