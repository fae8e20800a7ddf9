// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "admin/terminal.hpp"

/// `metatap ports`, `port` and `explain`: what is shown of guests' ports.
namespace metatap::admin {

[[nodiscard]] Exit show_ports(const Terminal& terminal);
/// `wanted`: id, device, address, MAC or instance, see find_ports().
[[nodiscard]] Exit show_port(const Terminal& terminal, const std::string& wanted);
/// Exit::failed: a request of its guest is not answered.
[[nodiscard]] Exit explain_port(const Terminal& terminal, const std::string& wanted);

/// One line a stage, and what to do.
[[nodiscard]] std::string explanation_text(const Terminal& terminal,
                                           const nlohmann::ordered_json& explanation);
/// The columns that fit a terminal; the rest is in --json.
[[nodiscard]] std::string ports_text(const nlohmann::ordered_json& rows);
/// All of one, section by section. `now`: seconds since 1970.
[[nodiscard]] std::string port_text(const nlohmann::ordered_json& details, std::int64_t now);

}  // namespace metatap::admin
