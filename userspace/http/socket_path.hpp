// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "metatap/result.hpp"

namespace metatap::http {

/// Whether a UNIX socket could be made there, whoever may listen there now: the path fits into an
/// address, and nothing that is not a socket is in its way. Makes nothing.
[[nodiscard]] Status check_socket_path(const std::string& path);

/// Whether there is a directory, or could be made one with all above it.
[[nodiscard]] Status check_directory(const std::string& path);

}  // namespace metatap::http
