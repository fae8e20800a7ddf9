// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "sys/users.hpp"

namespace metatap::sys {

/// Runs that on a thread of its own, which opens files with that user's rights and no others, and
/// waits for it: what would a process of that user find? Only root can try; who is not runs it with
/// the rights that there are.
void with_files_of(const User& user, const std::function<void()>& run);

}  // namespace metatap::sys
