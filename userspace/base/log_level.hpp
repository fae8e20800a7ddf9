// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace metatap::log {

/// Debug lines as well, whatever set_level() says, until it is switched off again. Any thread.
void set_debug(bool on);
[[nodiscard]] bool debugging();

}  // namespace metatap::log
