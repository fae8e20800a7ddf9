// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "dataplane/options.hpp"
#include "metatap/result.hpp"

namespace metatap::dataplane {

/// Takes away whatever a daemon of these options has left on the host, orderly stopped or killed:
/// programs on taps and in routers' namespaces, maps and pins, the metadata namespace, settings.
/// Nothing being there is success. ErrorCode::conflict: the daemon runs.
Status uninstall(const DataPlaneOptions& options);

}  // namespace metatap::dataplane
