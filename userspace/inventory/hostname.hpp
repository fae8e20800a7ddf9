// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace metatap {

/// The host name Nova gives a server of that display name (no domain): what is beyond U+00FF is
/// dropped, 63 characters are kept, blanks, `_` and `.` become `-`, other signs go, lower case, no
/// `-` or `.` at the ends; `Server-<uuid>` if nothing is left.
std::string hostname_from(std::string_view display_name, std::string_view uuid);

}  // namespace metatap
