// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::sys {

/// What a program says on its standard output, run in the calling thread's namespaces with nothing
/// on its input. One that takes longer than `patience` or says more than `longest` bytes is killed:
/// ErrorCode::timeout, or invalid. One that fails is ErrorCode::internal, one that is not there
/// not_found.
///
/// `command`: the program, looked for in PATH, and its arguments.
[[nodiscard]] Result<std::string> output_of(const std::vector<std::string>& command,
                                            std::chrono::milliseconds patience,
                                            std::size_t longest);

}  // namespace metatap::sys
