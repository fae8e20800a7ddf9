// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "metatap/result.hpp"

namespace metatap {

/// All of a regular file. A directory, a device or a pipe, whose reader may wait for ever, is
/// ErrorCode::invalid. Blocks as long as the file system does.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path);

}  // namespace metatap
