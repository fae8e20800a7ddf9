// SPDX-License-Identifier: Apache-2.0
#include "api/pool.hpp"

#include <functional>

namespace metatap::api {

std::shared_ptr<const std::string> StringPool::share(std::string text) {
  Shard& shard = (*shards_)[std::hash<std::string_view>{}(text) % std::tuple_size_v<Shards>];
  const std::scoped_lock lock(shard.mutex);
  if (const auto found = shard.strings.find(text); found != shard.strings.end()) {
    if (auto existing = found->second.lock()) {
      return existing;
    }
    shard.strings.erase(found);  // its key is about to go with the string it points into
  }
  auto owned = std::make_unique<const std::string>(std::move(text));
  const std::string_view key = *owned;
  std::shared_ptr<const std::string> made(
      owned.release(), [shards = shards_, &shard](const std::string* gone) {
        {
          const std::scoped_lock guard(shard.mutex);
          // Another one of the same text may have taken the place meanwhile.
          if (const auto place = shard.strings.find(*gone);
              place != shard.strings.end() && place->first.data() == gone->data()) {
            shard.strings.erase(place);
          }
        }
        delete gone;
      });
  shard.strings.emplace(key, made);
  return made;
}

std::size_t StringPool::size() const {
  std::size_t total = 0;
  for (const Shard& shard : *shards_) {
    const std::scoped_lock lock(shard.mutex);
    total += shard.strings.size();
  }
  return total;
}

}  // namespace metatap::api
