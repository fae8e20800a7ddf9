// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "libvirt/domain.hpp"
#include "metatap/result.hpp"

namespace metatap::libvirt {

/// NoCloud's `meta-data`, of which these lines of YAML are understood: `local-hostname: NAME`,
/// `hostname: NAME`, `public-keys:` with a list of keys under it, and NAME: VALUE, which goes into
/// the guest's metadata; `instance-id` is the domain's, whatever it says. Adds to `into`.
/// ErrorCode::invalid: all that is not understood, each with its line.
[[nodiscard]] Status read_meta_data(std::string_view text, GuestData& into);

}  // namespace metatap::libvirt
