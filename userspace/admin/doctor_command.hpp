// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "admin/terminal.hpp"

namespace metatap::admin {

/// `metatap doctor`. Exit::failed: an error was found; Exit::warned: nothing worse than a warning.
[[nodiscard]] Exit examine(const Terminal& terminal);

/// Errors first; each with since when and what to do. `now`: seconds since 1970.
[[nodiscard]] std::string findings_text(const Terminal& terminal,
                                        const nlohmann::ordered_json& findings, std::int64_t now);

}  // namespace metatap::admin
