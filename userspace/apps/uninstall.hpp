// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/daemon.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// dataplane::uninstall() for the daemon of that configuration, of which the rest may be wrong.
Status uninstall(const DaemonOptions& options);

}  // namespace metatap::apps
