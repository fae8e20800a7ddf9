// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::http {

/// The values of all headers of that name (any case) as one list, as RFC 9110 §5.3 has it and as
/// Python's servers hand it to WebOb: with commas between them. Empty: there are none.
[[nodiscard]] std::string joined(const Request& request, std::string_view name);

}  // namespace metatap::http
