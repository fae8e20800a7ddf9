// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace metatap::importer {

/// For `changes-since` and `changed_since`, given when the last question began by the service's own
/// clock: some time earlier, because what was being changed then may bear an earlier stamp. What is
/// told twice changes nothing.
[[nodiscard]] std::string since(std::optional<std::chrono::system_clock::time_point> began);

}  // namespace metatap::importer
