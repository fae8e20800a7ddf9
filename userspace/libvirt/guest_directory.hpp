// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>

#include "libvirt/domain.hpp"
#include "metatap/result.hpp"

namespace metatap::libvirt {

/// A guest's data in NoCloud's layout: `meta-data` (read_meta_data), `user-data`, `vendor-data`, of
/// which one must be there. nullopt: there is no such directory. An error names the file, and line
/// where it can. `network-config` is an error, because the metadata service has no place for it.
[[nodiscard]] Result<std::optional<GuestData>> read_guest_directory(
    const std::filesystem::path& directory);

}  // namespace metatap::libvirt
