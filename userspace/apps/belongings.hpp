// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/settings.hpp"
#include "metatap/result.hpp"
#include "sys/sandbox.hpp"

namespace metatap::apps {

/// Sees to it that the stages find what they need when they are that user's, whoever they were
/// before (an older version, root). Nothing where we are not root.
///
/// `run_path` stays ours: the user's group may put its sockets there, and take away nothing that is
/// not its own. `state_path` is the user's, with the database in it.
[[nodiscard]] Status give_belongings(const Settings& settings, const sys::User& user);

}  // namespace metatap::apps
