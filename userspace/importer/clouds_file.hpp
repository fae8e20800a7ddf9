// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

namespace metatap::importer {

/// What is said of one cloud in a clouds.yaml: its members and those of its `auth`, by name, as far
/// as they are single values. ErrorCode::invalid: it is no YAML, with line and reason; not_found:
/// it has no such cloud, with those that it has.
[[nodiscard]] Result<std::map<std::string, std::string>> read_cloud(std::string_view text,
                                                                    const std::string& cloud);

}  // namespace metatap::importer
