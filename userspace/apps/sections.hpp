// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/option.hpp"

namespace metatap::apps {

/// All sections of the configuration that a stage of ours reads, in the order in which they are
/// documented.
[[nodiscard]] std::span<const OptionSection> sections();

}  // namespace metatap::apps
