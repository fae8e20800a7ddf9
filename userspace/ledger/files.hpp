// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metatap/result.hpp"

/// The files of a ledger: each is named after its first record, and none is ever renamed.
namespace metatap::ledger {

/// "access-000000000017.jsonl"
[[nodiscard]] std::string file_name(std::uint64_t first_record);

/// The first records of the files in a directory that is open, in order. What is not named so is
/// not looked at.
[[nodiscard]] Result<std::vector<std::uint64_t>> files_in(int directory);

}  // namespace metatap::ledger
