// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "metatap/result.hpp"

namespace metatap::agent {

/// Signs instance ids for the API: lower-case hex HMAC-SHA256 with metadata_proxy_shared_secret as
/// key. An instance's signature never changes, so each is computed once and kept; the number kept
/// is bounded. Thread-safe. The secret leaves this object only as signatures.
class Signer {
 public:
  /// Refuses an empty secret: anyone who reaches the API could sign with it.
  static Result<Signer> with(std::string secret);
  Signer(Signer&& other) noexcept : secret_(std::move(other.secret_)) {}
  Signer& operator=(Signer&&) = delete;
  ~Signer();

  [[nodiscard]] std::string sign(std::string_view instance_id) const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  struct Shard {
    std::shared_mutex mutex;
    std::unordered_map<std::string, std::string, Hash, std::equal_to<>> signatures;
  };

  explicit Signer(std::string secret) : secret_(std::move(secret)) {}

  std::string secret_;
  mutable std::array<Shard, 16> shards_;
};

}  // namespace metatap::agent
