// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace metatap::importer {

/// Variables of an environment, by name: those that begin with OS_, and HOME.
using Variables = std::map<std::string, std::string, std::less<>>;

/// What an openrc file sets, as Horizon writes it or people do. It is a shell script, and it is not
/// run: only values that stand there as they are count.
struct Openrc {
  Variables set;
  std::set<std::string, std::less<>> unset;
  /// Set to what the script computes or asks for, and so not known; with the line.
  std::map<std::string, std::size_t, std::less<>> computed;
};
[[nodiscard]] Openrc read_openrc(std::string_view text);

}  // namespace metatap::importer
