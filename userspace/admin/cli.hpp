// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "admin/registry.hpp"
#include "importer/wish.hpp"
#include "metatap/result.hpp"

namespace metatap::admin {

/// What `metatap` returns to the shell.
enum class Exit : int {
  done = 0,
  failed = 1,         ///< it was refused or failed; doctor, explain, audit: something is wrong
  usage = 2,          ///< the command line is wrong, or a file of it cannot be read
  not_found = 3,      ///< what was named does not exist
  conflict = 4,       ///< it exists already, or the name fits several
  unreachable = 5,    ///< no metatapd behind the socket, or none that answers
  incomplete = 6,     ///< the change is stored, but part of it could not be put into effect
  denied = 7,         ///< we may not: mostly, connect to the socket
  other_version = 8,  ///< metatapd knows no such question
  nobody_reads = 9,   ///< standard output is closed
  warned = 10,        ///< doctor: nothing worse than a warning was found
};
[[nodiscard]] Exit exit_for(const Error& error);

/// What `metatap doctor --preflight` finds, without a daemon.
using Preflight = std::function<std::vector<Finding>()>;

/// What `metatap import` does: importer::run(), with the environment put in.
using Import = std::function<Result<importer::Imported>(importer::Wish, const importer::Outlet&)>;

/// The whole of `metatap`. `arguments` without the program's name; `version` is what --version
/// says.
[[nodiscard]] int run_cli(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
                          std::ostream& err, const std::string& version = "metatap",
                          const Preflight& preflight = {}, const Import& import = {});

}  // namespace metatap::admin
