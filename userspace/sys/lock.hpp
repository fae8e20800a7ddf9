// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string_view>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::sys {

/// For this process alone, among those that ask, until the descriptor is closed or the process dies
/// (flock). False: another process has it.
[[nodiscard]] bool lock(int fd);
/// The same for a directory, or a file, which is made. ErrorCode::conflict: "another metatapd uses
/// PATH (OPTION)", `option` being the one by which the user gave it.
[[nodiscard]] Result<UniqueFd> lock_path(const std::filesystem::path& path,
                                         std::string_view option);

}  // namespace metatap::sys
