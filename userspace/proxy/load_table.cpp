// SPDX-License-Identifier: Apache-2.0
#include "proxy/load_table.hpp"

#include <algorithm>
#include <functional>

#include "http/deadlines.hpp"

namespace metatap::proxy {

std::shared_ptr<Load> LoadTable::at(const std::string& name) {
  Shard& shard = shards_[std::hash<std::string>{}(name) % kShards];
  const std::lock_guard lock(shard.mutex);
  if (const auto found = shard.loads.find(name); found != shard.loads.end()) {
    return found->second;
  }
  if (shard.loads.size() >= shard.sweep_at) {
    const auto now = http::Deadlines::now();
    std::erase_if(shard.loads, [&](const auto& entry) {
      return entry.second.use_count() == 1 && entry.second->rate.spent(limit_, now);
    });
    shard.sweep_at = std::max(kFirstSweep, 2 * shard.loads.size());
  }
  return shard.loads.emplace(name, std::make_shared<Load>()).first->second;
}

std::size_t LoadTable::size() const {
  std::size_t sum = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    sum += shard.loads.size();
  }
  return sum;
}

}  // namespace metatap::proxy
