// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "proxy/rate_limit.hpp"

namespace metatap::proxy {

/// What one port or one network asks of us now.
struct Load {
  std::atomic<unsigned> connections{0};
  std::atomic<unsigned> turned_away{0};  ///< connections that are told to come back later
  std::atomic<unsigned> waiting{0};      ///< requests that wait for a change
  RateGauge rate;
};

/// The loads of all ports or networks by name, shared by the workers. An entry goes some time
/// after its last connection, when its rate is spent. Thread-safe.
class LoadTable {
 public:
  explicit LoadTable(const RateLimit& limit) : limit_(limit) {}
  [[nodiscard]] std::shared_ptr<Load> at(const std::string& name);
  [[nodiscard]] std::size_t size() const;

 private:
  static constexpr std::size_t kShards = 16;
  static constexpr std::size_t kFirstSweep = 256;  // entries of a shard
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, std::shared_ptr<Load>> loads;
    std::size_t sweep_at = kFirstSweep;
  };
  const RateLimit limit_;
  std::array<Shard, kShards> shards_;
};

/// One connection's place among those of a port or network, for as long as it lives.
class LoadShare {
 public:
  using Counter = std::atomic<unsigned> Load::*;

  LoadShare() = default;
  explicit LoadShare(std::shared_ptr<Load> load, Counter counter = &Load::connections)
      : load_(std::move(load)), counter_(counter) {
    others_ = ((*load_).*counter_).fetch_add(1, std::memory_order_relaxed);
  }
  LoadShare(LoadShare&& other) noexcept = default;
  LoadShare& operator=(LoadShare&& other) noexcept {
    std::swap(load_, other.load_);
    std::swap(counter_, other.counter_);
    std::swap(others_, other.others_);
    return *this;
  }
  ~LoadShare() {
    if (load_) {
      ((*load_).*counter_).fetch_sub(1, std::memory_order_relaxed);
    }
  }
  explicit operator bool() const { return load_ != nullptr; }
  /// How many there were when it came.
  [[nodiscard]] unsigned others() const { return others_; }
  [[nodiscard]] Load& load() const { return *load_; }
  /// A place among others of the same port or network.
  [[nodiscard]] LoadShare also(Counter counter) const { return LoadShare(load_, counter); }

 private:
  std::shared_ptr<Load> load_;
  Counter counter_ = &Load::connections;
  unsigned others_ = 0;
};

}  // namespace metatap::proxy
