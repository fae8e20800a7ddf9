// SPDX-License-Identifier: Apache-2.0
#include "agent/shield_cache.hpp"

#include <algorithm>

namespace metatap::agent {
namespace {

/// What an entry takes beside its answer, about.
constexpr std::size_t kOverhead = 256;

std::size_t size_of(const ShieldCache::Entry& entry) {
  return kOverhead + entry.answer.bytes() +
         2 * (entry.key.instance.size() + entry.key.question.size());
}

}  // namespace

AnswerKey AnswerKey::of(const Request& request) {
  const auto said = [&request](std::string_view name) {
    return std::string(request.header(name).value_or(std::string_view()));
  };
  return {.instance = said("X-Instance-ID") + '\n' + said("X-Tenant-ID"),
          .question = said("X-Forwarded-For") + '\n' + std::string(request.target)};
}

std::shared_ptr<const ShieldCache::Entry> ShieldCache::find(const AnswerKey& key) {
  const auto place = places_.find(key);
  if (place == places_.end()) {
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, place->second);
  return *place->second;
}

void ShieldCache::put(AnswerKey key, KeptAnswer answer, std::int64_t since) {
  erase(key);
  auto entry = std::make_shared<const Entry>(std::move(key), std::move(answer), since);
  const auto size = size_of(*entry);
  if (size > most_bytes_ / 16) {  // one answer is not worth all the others
    return;
  }
  if (of_instance_[entry->key.instance] >= kMostOfInstance) {
    drop_one_of(entry->key.instance);
  }
  while (!entries_.empty() && bytes_ + size > most_bytes_) {
    drop(std::prev(entries_.end()));
  }
  ++of_instance_[entry->key.instance];
  bytes_ += size;
  entries_.push_front(entry);
  places_.emplace(entry->key, entries_.begin());
}

void ShieldCache::erase(const AnswerKey& key) {
  if (const auto place = places_.find(key); place != places_.end()) {
    drop(place->second);
  }
}

void ShieldCache::drop(Entries::iterator entry) {
  const auto held = *entry;
  bytes_ -= size_of(*held);
  places_.erase(held->key);
  entries_.erase(entry);
  const auto count = of_instance_.find(held->key.instance);
  if (--count->second == 0) {
    of_instance_.erase(count);
  }
}

void ShieldCache::drop_one_of(const std::string& instance) {
  const auto oldest = std::ranges::find(entries_.rbegin(), entries_.rend(), instance,
                                        [](const auto& entry) { return entry->key.instance; });
  if (oldest != entries_.rend()) {
    drop(std::next(oldest).base());
  }
}

}  // namespace metatap::agent
