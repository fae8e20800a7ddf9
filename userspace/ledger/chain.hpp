// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// How a record is one line of a file, and how each holds fast the one before it.
namespace metatap::ledger {

/// SHA-256 in lower-case hex. The link of a record is that of the link before it and the record's
/// own text:
///
///   link = sha256(link of the record before + {"record":17,…})
///   line = {"record":17,…,"chain":"<link>"}
///
/// So `printf %s "$before" "$text" | sha256sum` says the same.
[[nodiscard]] std::string link_of(std::string_view before, std::string_view text);

/// Stands before the first record of all.
inline constexpr std::string_view kNoLink =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// Where a chain ends: the number and link of its last record.
struct ChainEnd {
  std::uint64_t record = 0;  ///< 0: there is none yet
  std::string link = std::string(kNoLink);
  bool operator==(const ChainEnd&) const = default;
};

/// The line, with its end, of the record that follows; `end` is then that record's. `entry`: a JSON
/// object that is not empty, without a number.
[[nodiscard]] std::string next_line(ChainEnd& end, std::string_view entry);

/// What a line is made of.
struct LineParts {
  std::string text;       ///< the record without its link
  std::string_view link;  ///< of the line
};
/// nullopt: it is no line of ours. `line`: without its end.
[[nodiscard]] std::optional<LineParts> parts_of(std::string_view line);

}  // namespace metatap::ledger
