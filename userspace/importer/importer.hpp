// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "importer/wish.hpp"
#include "metatap/result.hpp"

/// `metatap import`: an inventory document of what Neutron's and Nova's APIs tell.
namespace metatap::importer {

/// Reads all, checks that `metatap apply` would take it, and hands it over: the whole of it, or
/// nothing. With `follow`, what goes wrong after that is said, and tried again.
/// Errors: those of find_credentials(), Keystone and Questions; `invalid`: what was read makes no
/// inventory, each time it was read anew; `internal`: told to end before it was done.
[[nodiscard]] Result<Imported> run(const Wish& wish, const Outlet& outlet);

}  // namespace metatap::importer
