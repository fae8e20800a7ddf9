// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/config.hpp"
#include "base/option.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// What a configuration sets and no part has read, once all have. `sections` and `options`: all
/// there are.
struct Vocabulary {
  std::span<const OptionSection> sections;
  std::span<const OptionInfo> options;
};

/// ErrorCode::invalid, with file, line and what was probably meant: an option in one of our own
/// sections that is none of ours, or a section whose name is nearly one of these.
[[nodiscard]] Status refuse_misspelt(const Config& config, const Vocabulary& known);
/// Writes a line for each of the others: they are another program's, misspelt, or of parts that do
/// not run here.
void note_unread(const Config& config, const Vocabulary& known);

}  // namespace metatap
