// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "metatap/store.hpp"

namespace metatap {

/// The store that `[inventory] database` names: `sqlite:///PATH` (the path is absolute, with three
/// slashes as with SQLAlchemy's four: a daemon has no directory of its own to start from), or
/// `postgresql://…`. Empty: `metatap.db` under `state_path`. `limit`: how long a server may take
/// for one answer. `host`: the one whose part of a PostgreSQL database is held; empty: all of it.
Result<std::unique_ptr<Store>> open_store(std::string_view database,
                                          const std::filesystem::path& state_path,
                                          std::chrono::milliseconds limit, std::string host = {});

/// What open_store() and the first use of the store would refuse: another program's database, a
/// newer schema. Makes nothing. ErrorCode::unavailable: the server cannot be asked now.
[[nodiscard]] Status check_store(std::string_view database, const std::filesystem::path& state_path,
                                 std::chrono::milliseconds limit);

}  // namespace metatap
