// SPDX-License-Identifier: Apache-2.0
#include "api/registry.hpp"

#include <algorithm>

namespace metatap::api {

void Registry::set(const Entry& document) {
  const std::size_t hash = std::hash<std::string_view>{}(document->uuid());
  auto& place = buckets_[hash % kBuckets];
  const auto old = place.get();
  auto next = old ? std::make_shared<Bucket>(*old) : std::make_shared<Bucket>();
  const auto same = std::ranges::find_if(
      *next, [&](const auto& entry) { return entry.second->uuid() == document->uuid(); });
  if (same != next->end()) {
    same->second = document;
  } else {
    next->reserve(next->size() + 1);
    next->emplace_back(hash, document);
    size_.fetch_add(1, std::memory_order_relaxed);
  }
  place.set(std::move(next));
}

void Registry::erase(std::string_view uuid) {
  const std::size_t hash = std::hash<std::string_view>{}(uuid);
  auto& place = buckets_[hash % kBuckets];
  const auto old = place.get();
  if (!old) {
    return;
  }
  auto next = std::make_shared<Bucket>(*old);
  const auto gone =
      std::erase_if(*next, [&](const auto& entry) { return entry.second->uuid() == uuid; });
  if (gone != 0) {
    size_.fetch_sub(gone, std::memory_order_relaxed);
    place.set(std::move(next));
  }
}

void Registry::assign(const std::vector<Entry>& documents) {
  std::vector<Bucket> buckets(kBuckets);
  for (const Entry& document : documents) {
    const std::size_t hash = std::hash<std::string_view>{}(document->uuid());
    buckets[hash % kBuckets].emplace_back(hash, document);
  }
  for (std::size_t i = 0; i < kBuckets; ++i) {
    buckets[i].shrink_to_fit();
    buckets_[i].set(buckets[i].empty() ? nullptr
                                       : std::make_shared<const Bucket>(std::move(buckets[i])));
  }
  size_.store(documents.size(), std::memory_order_relaxed);
}

void Registry::for_each(const std::function<void(const Document&)>& visit) const {
  for (const auto& place : buckets_) {
    if (const auto bucket = place.get()) {
      for (const auto& entry : *bucket) {
        visit(*entry.second);
      }
    }
  }
}

}  // namespace metatap::api
