// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

/// A file that holds a secret key, shared by the processes that share its directory.
namespace metatap {

inline constexpr std::size_t kKeyBytes = 32;

/// The bytes of the key. ErrorCode::not_found when there is no such file. One that somebody else
/// may have written or may read is refused, with what is wrong and how to mend it: it must be a
/// regular file of at least kKeyBytes, not writable by its group and closed to all others, and
/// belong to root, to us, to the owner of the directory, or, where the directory's group may write
/// there, to that group.
[[nodiscard]] Result<std::string> read_key_file(const std::filesystem::path& file);

/// The same; makes the file, of random bytes, where there is none. Of several who do so at once all
/// get the same key. The directory's group may read it if we may give it to that group (mode 0640),
/// else nobody but us (0600).
[[nodiscard]] Result<std::string> read_or_make_key_file(const std::filesystem::path& file);

/// Puts a file with these bytes in the place of the one there is, at once for whoever reads it; the
/// same group may read it as of one that is made. Of two who do so at once the last one's stays.
[[nodiscard]] Status replace_key_file(const std::filesystem::path& file, std::string_view bytes);

}  // namespace metatap
