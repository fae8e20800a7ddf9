// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "metatap/result.hpp"

namespace metatap::sys {

/// Makes `path` a directory on a BPF filesystem: mounts one at /sys/fs/bpf when there is none.
Status ensure_bpffs(const std::filesystem::path& path);

}  // namespace metatap::sys
