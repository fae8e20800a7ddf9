// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace metatap::apps {

struct Build {
  std::string version, commit, abi;
};
[[nodiscard]] Build build_of_this();

/// What `--version` says: "metatapd 0.1.0, commit 0123456789ab, ABI 2". The ABI is the layout of
/// the pinned maps: daemons with the same one take over each other's.
[[nodiscard]] std::string version_of(std::string_view program);

}  // namespace metatap::apps
