// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace metatap {

/// Whether an option of that name holds what nobody is shown.
[[nodiscard]] bool is_secret(std::string_view name);
/// An option's value as it may be shown: secrets are hidden as a whole, credentials inside a URL or
/// a libpq string by themselves.
[[nodiscard]] std::string masked(std::string_view name, const std::string& value);

}  // namespace metatap
