// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace metatap::api {

/// Immutable strings that many instances have in common (a zone, a flavor, one user data for a
/// whole deployment), each kept once and only as long as somebody holds it. Thread-safe.
class StringPool {
 public:
  StringPool() : shards_(std::make_shared<Shards>()) {}

  [[nodiscard]] std::shared_ptr<const std::string> share(std::string text);
  [[nodiscard]] std::size_t size() const;

 private:
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string_view, std::weak_ptr<const std::string>> strings;
  };
  using Shards = std::array<Shard, 16>;
  std::shared_ptr<Shards> shards_;  ///< outlives the pool while a string does
};

}  // namespace metatap::api
