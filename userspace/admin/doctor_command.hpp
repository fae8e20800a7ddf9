// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "admin/terminal.hpp"

namespace metatap::admin {

/// `metatap doctor`. Exit::failed: an error was found; Exit::warned: nothing worse than a warning.
[[nodiscard]] Exit examine(const Terminal& terminal);

/// What is wrong with a clock that says so; null: nothing.
[[nodiscard]] nlohmann::ordered_json clock_finding(std::chrono::system_clock::time_point now,
                                                   bool synchronized);

/// Errors first; each with since when and what to do. `now`: seconds since 1970.
[[nodiscard]] std::string findings_text(const Terminal& terminal,
                                        const nlohmann::ordered_json& findings, std::int64_t now);

}  // namespace metatap::admin
