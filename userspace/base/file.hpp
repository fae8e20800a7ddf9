// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "metatap/result.hpp"

namespace metatap {

/// What no file that we read is longer than: a process may have twice that (MemoryMax of the
/// units).
inline constexpr std::size_t kLongestFile = std::size_t{1} << 30U;

/// All of a regular file. A directory, a device or a pipe, whose reader may wait for ever, is
/// ErrorCode::invalid, and so is a file of more than `longest` bytes. Blocks as long as the file
/// system does.
[[nodiscard]] Result<std::string> read_file(const std::filesystem::path& path,
                                            std::size_t longest = kLongestFile);

}  // namespace metatap
