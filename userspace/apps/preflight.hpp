// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/settings.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// What a start would find wrong with the users, addresses, certificates, URLs, the database and
/// the inventory file that the options name, for the stages that run here. Nothing is left behind,
/// and nobody is asked anything but a database on another host; that one does not answer is a line
/// in the log, as it is at a start.
[[nodiscard]] Status preflight(const Settings& settings);

}  // namespace metatap::apps
