// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

/// What one fuzzer does with any bytes, as libFuzzer calls it (preset fuzz) and replay.cpp (the
/// tests). It aborts where the parser breaks its word.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace metatap::fuzz {

inline void require(bool kept) {
  if (!kept) {
    std::abort();
  }
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace metatap::fuzz
