// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "ledger/chain.hpp"
#include "ledger/record.hpp"
#include "metatap/result.hpp"

/// How a ledger is read, by whoever may read its files; nobody needs to run.
namespace metatap::ledger {

/// What there is in a ledger, and whether it is as it was written.
struct Audit {
  std::uint64_t files = 0, records = 0;
  std::uint64_t first = 0;  ///< number of the first record; above 1: older files have gone
  ChainEnd end;             ///< of what is unbroken
  std::uint64_t gaps = 0;
  std::uint64_t lost = 0;  ///< answers, as the gaps say that know
  /// The first record that is not what was written, or not where it was: "FILE:LINE: record N:
  /// why". Empty: the chain holds from the first record to the last.
  std::string broken;
  /// The newest file ends with half a record, as after a crash, or while one is being written.
  bool half = false;
};

/// One record, whole or of a line that is none (null); false: enough has been read.
using Visit = std::function<bool(const Json& record, std::string_view line)>;

/// Reads a directory's files in their order, or one file. What is broken is read on, as far as its
/// lines are records. ErrorCode::not_found: there is no such file, or none in the directory.
[[nodiscard]] Result<Audit> read_ledger(const std::filesystem::path& where, const Visit& visit);

}  // namespace metatap::ledger
