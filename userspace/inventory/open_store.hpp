// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "metatap/store.hpp"

namespace metatap {

/// The store that `[database] connection` names: `sqlite:///PATH` (the path is absolute, with three
/// slashes as with SQLAlchemy's four: a daemon has no directory of its own to start from), or
/// `postgresql://…`. Empty: `metatap.db` under `state_path`.
Result<std::unique_ptr<Store>> open_store(std::string_view connection,
                                          const std::filesystem::path& state_path);

}  // namespace metatap
