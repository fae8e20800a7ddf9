// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace metatap {

/// From when on a value that was changed in the file is used.
enum class Takes : bool {
  restart,
  reload,  ///< SIGHUP
};

/// An option where it is read: its place in the file, and what it is for in one line.
struct Option {
  std::string_view group, name, help;
  std::string_view unit = "";  ///< "bytes", "threads", …; of seconds() it is known
  Takes takes = Takes::restart;
};

enum class OptionType : std::uint8_t {
  text,
  secret,  ///< text that is shown to nobody
  boolean,
  integer,
  number,  ///< may have a fraction
  list,    ///< separated by commas
  choice,  ///< one of `choices`
};

/// What there is to know of an option without any file: enough to write its documentation, or to
/// tell which one a misspelt name was meant to be. Never holds a value that somebody has set.
struct OptionInfo {
  std::string group, name;
  OptionType type = OptionType::text;
  std::string fallback;  ///< as it would be written in a file; empty: nothing, or not to be told
  std::string unit;
  long min = 0, max = 0;             ///< of an integer or number
  std::vector<std::string> choices;  ///< of a choice
  std::string help;
  Takes takes = Takes::restart;
  std::vector<std::string>
      older{};  ///< names under which it is found, too: "[DEFAULT] sql_connection"
};

/// A group of options in the file.
struct OptionSection {
  std::string_view name;
  /// Nobody else has one of that name: what is in it is ours, or a mistake. The others are
  /// Neutron's and Nova's too, whose files are read as they are.
  bool ours = false;
  std::string_view about;
};

}  // namespace metatap
