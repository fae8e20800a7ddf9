// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "metatap/exchange.hpp"

namespace metatap::admin {

/// status_page.html, which was put into the program when it was built. Its policy lets a browser
/// run the script and use the style that are in it, ask where it came from, and nothing else.
[[nodiscard]] Response status_page();

}  // namespace metatap::admin
