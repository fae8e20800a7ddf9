// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "proxy/rate_limit.hpp"

namespace metatap::proxy {

/// What one port or one network asks of us now.
struct Load {
  std::atomic<unsigned> connections{0};
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

/// One connection's share of a load, for as long as it lives.
class LoadShare {
 public:
  LoadShare() = default;
  explicit LoadShare(std::shared_ptr<Load> load) : load_(std::move(load)) {
    number_ = load_->connections.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  LoadShare(LoadShare&& other) noexcept = default;
  LoadShare& operator=(LoadShare&&) = delete;
  ~LoadShare() {
    if (load_) {
      load_->connections.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  /// How many connections there were, this one included, when it came.
  [[nodiscard]] unsigned number() const { return number_; }
  [[nodiscard]] Load& load() const { return *load_; }

 private:
  std::shared_ptr<Load> load_;
  unsigned number_ = 0;
};

}  // namespace metatap::proxy
