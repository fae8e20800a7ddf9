// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "admin/terminal.hpp"

namespace metatap::admin {

/// What of all that happens is shown; empty: whatever it is.
struct TraceFilter {
  std::string port;     ///< id
  std::string verdict;  ///< of packets: pass, drop or steer; then no requests are shown
  std::string status;   ///< of requests: 404 or 4xx; then no packets are shown
  std::string path;     ///< of requests, a part of it; then no packets are shown

  [[nodiscard]] bool shows(const nlohmann::ordered_json& line) const;
};

/// One line for a person.
[[nodiscard]] std::string trace_text(const nlohmann::ordered_json& line);

/// `metatap trace`: line by line until ended, or until `most` lines (0: no bound). `wanted` is the
/// port as find_ports() has it; empty: all.
[[nodiscard]] Exit trace(const Terminal& terminal, const std::string& wanted, TraceFilter filter,
                         std::uint64_t most);

/// The id of the one port that is meant.
[[nodiscard]] Result<std::string> id_of_port(const Terminal& terminal, const std::string& wanted);

}  // namespace metatap::admin
