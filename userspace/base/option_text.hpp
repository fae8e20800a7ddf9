// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "base/option.hpp"

namespace metatap {

/// What there is to know of all options, section by section: docs/configuration.md, and the manual
/// page metatapd.conf(5).
[[nodiscard]] std::string options_as_markdown(std::span<const OptionSection> sections,
                                              std::span<const OptionInfo> options);
[[nodiscard]] std::string options_as_manual(std::span<const OptionSection> sections,
                                            std::span<const OptionInfo> options);

}  // namespace metatap
