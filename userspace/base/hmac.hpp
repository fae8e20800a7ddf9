// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "metatap/result.hpp"

namespace metatap {

/// HMAC-SHA256 in lower-case hex.
using Signature = std::array<char, 64>;

[[nodiscard]] Signature sign(std::string_view key, std::string_view text);
/// Takes the same time whatever the difference is.
[[nodiscard]] bool same_signature(std::string_view given, const Signature& expected);

/// A key that signs often. Setting it up is most of what sign() costs; here it is done once a
/// thread. Thread-safe; the bytes are wiped at its end.
class SigningKey {
 public:
  explicit SigningKey(std::string bytes);
  SigningKey(SigningKey&&) noexcept = default;
  SigningKey& operator=(SigningKey&&) = delete;
  ~SigningKey();

  [[nodiscard]] Signature sign(std::string_view text) const;

 private:
  std::string bytes_;
  std::uint64_t number_;  ///< tells the threads which key theirs is
};

}  // namespace metatap
