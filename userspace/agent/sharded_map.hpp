// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace metatap::agent {

/// An immutable hash table from strings whose copies share all that did not change: a change to one
/// key of ten thousand copies some forty entries, not the table. Values of it may be read on any
/// thread; an Edit belongs to one.
template <class T>
class ShardedMap {
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  using Shard = std::unordered_map<std::string, T, Hash, std::equal_to<>>;
  static constexpr std::size_t kShards = 256;
  // The table inside a shard uses the low bits of the same hash.
  static std::size_t shard_of(std::string_view key) { return (Hash()(key) >> 48) % kShards; }

 public:
  /// nullptr: no such key. Valid as long as this map.
  [[nodiscard]] const T* find(std::string_view key) const {
    const auto& shard = shards_[shard_of(key)];
    if (!shard) {
      return nullptr;
    }
    const auto found = shard->find(key);
    return found == shard->end() ? nullptr : &found->second;
  }

  [[nodiscard]] std::size_t size() const {
    std::size_t total = 0;
    for (const auto& shard : shards_) {
      total += shard ? shard->size() : 0;
    }
    return total;
  }

  template <class F>
  void each(F&& callback) const {
    for (const auto& shard : shards_) {
      if (shard) {
        for (const auto& [key, value] : *shard) {
          callback(key, value);
        }
      }
    }
  }

  /// Changes on their way into the next map; each shard is copied at most once.
  class Edit {
   public:
    explicit Edit(const ShardedMap& base) : map_(base) {}

    [[nodiscard]] const T* find(std::string_view key) const { return map_.find(key); }
    T& operator[](std::string_view key) { return own(key)[std::string(key)]; }
    void erase(std::string_view key) {
      if (map_.find(key) != nullptr) {
        auto& shard = own(key);
        shard.erase(shard.find(key));
      }
    }
    [[nodiscard]] ShardedMap take() && { return std::move(map_); }

   private:
    Shard& own(std::string_view key) {
      const auto at = shard_of(key);
      if (!owned_[at]) {
        auto& shared = map_.shards_[at];
        owned_[at] = shared ? std::make_shared<Shard>(*shared) : std::make_shared<Shard>();
        shared = owned_[at];
      }
      return *owned_[at];
    }

    ShardedMap map_;
    std::array<std::shared_ptr<Shard>, kShards> owned_;
  };

 private:
  std::array<std::shared_ptr<const Shard>, kShards> shards_;
};

}  // namespace metatap::agent
