// SPDX-License-Identifier: Apache-2.0
#pragma once

// One log for the whole process, on stderr, where systemd and people find it. A line is one event,
// lower case, with its subject first; no line is written per request at the default level, and no
// line ever holds a secret or bytes a guest chose without quoting.
#include <spdlog/spdlog.h>

namespace metatap::log {

using spdlog::critical;
using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

}  // namespace metatap::log
