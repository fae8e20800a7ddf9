// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace metatap::dataplane {

/// Folder under [DEFAULT] run_path of what the data plane believes when it starts: nobody else may
/// write there, as they may beside it.
inline constexpr std::string_view kOwnRecords = "dataplane";

}  // namespace metatap::dataplane
