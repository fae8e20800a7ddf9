// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace metatap::sys {

/// Raises this process's limit of open descriptors (RLIMIT_NOFILE) as far as it may be raised, and
/// returns what it is then.
std::size_t raise_descriptor_limit();

}  // namespace metatap::sys
