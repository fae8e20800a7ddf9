// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "api/document.hpp"
#include "base/published.hpp"

namespace metatap::api {

/// All documents by instance id. Any thread may look up; one thread at a time changes. A change
/// replaces one small bucket, so that its cost does not grow with the number of instances and
/// readers of other instances never meet it.
class Registry {
 public:
  using Entry = std::shared_ptr<const Document>;

  [[nodiscard]] Entry find(std::string_view uuid) const {
    const std::size_t hash = std::hash<std::string_view>{}(uuid);
    const auto bucket = buckets_[hash % kBuckets].get();
    if (bucket) {
      for (const auto& [known, document] : *bucket) {
        if (known == hash && document->uuid() == uuid) {
          return document;
        }
      }
    }
    return nullptr;
  }
  void set(const Entry& document);
  void erase(std::string_view uuid);
  /// Every bucket once, for the start.
  void assign(const std::vector<Entry>& documents);
  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_relaxed); }
  void for_each(const std::function<void(const Document&)>& visit) const;

 private:
  static constexpr std::size_t kBuckets = 8192;
  using Bucket = std::vector<std::pair<std::size_t, Entry>>;

  std::array<Published<Bucket>, kBuckets> buckets_;
  std::atomic<std::size_t> size_ = 0;
};

}  // namespace metatap::api
