// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace metatap {

inline constexpr std::size_t kSeedBytes = 512;
inline constexpr std::size_t kSeedText = 684;  ///< its length in base64

/// Appends 512 fresh random bytes in base64. Each thread draws on its own pool, which OpenSSL's
/// generator fills in bulk; what was handed out is wiped.
void append_random_seed(std::string& out);

}  // namespace metatap
