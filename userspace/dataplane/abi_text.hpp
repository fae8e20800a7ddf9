// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace metatap::dataplane {

/// Copies text into a field of the ABI, cut off where it must be, NUL-terminated.
template <std::size_t N>
void copy_text(char (&to)[N], std::string_view text) {
  std::fill_n(to, N, '\0');
  std::copy_n(text.data(), std::min(text.size(), N - 1), to);
}

}  // namespace metatap::dataplane
