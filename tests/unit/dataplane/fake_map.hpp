// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/bpf_map.hpp"

namespace metatap::dataplane {

/// A map in memory, with what a kernel may do to its user.
class FakeMap final : public MapRows {
 public:
  FakeMap(std::size_t key_size, std::size_t value_size)
      : key_size_(key_size), value_size_(value_size) {}

  std::size_t room = 1000;       ///< one row more: ENOSPC
  std::optional<Error> refuses;  ///< every change is answered by that

  [[nodiscard]] std::size_t size() const { return rows_.size(); }

  Status put(const void* key, const void* value) override {
    if (refuses) {
      return tl::make_unexpected(*refuses);
    }
    if (rows_.size() == room && !rows_.contains(bytes(key, key_size_))) {
      return fail_errno(ENOSPC, "write the fake map");
    }
    rows_[bytes(key, key_size_)] = bytes(value, value_size_);
    return {};
  }
  Result<bool> get(const void* key, void* value) const override {
    const auto found = rows_.find(bytes(key, key_size_));
    if (found == rows_.end()) {
      return false;
    }
    std::memcpy(value, found->second.data(), value_size_);
    return true;
  }
  Result<bool> erase(const void* key) override {
    if (refuses) {
      return tl::make_unexpected(*refuses);
    }
    return rows_.erase(bytes(key, key_size_)) != 0;
  }
  Result<bool> next(const void* previous, void* key) const override {
    auto found = rows_.begin();
    if (previous != nullptr && rows_.contains(bytes(previous, key_size_))) {
      found = rows_.upper_bound(bytes(previous, key_size_));  // else from the start, as hashes do
    }
    if (found == rows_.end()) {
      return false;
    }
    std::memcpy(key, found->first.data(), key_size_);
    return true;
  }

 private:
  static std::string bytes(const void* from, std::size_t size) {
    return {static_cast<const char*>(from), size};
  }

  std::size_t key_size_, value_size_;
  std::map<std::string, std::string> rows_;
};

/// A typed map over a FakeMap, which stays within reach.
template <class Key, class Value>
struct FakeBpfMap {
  std::shared_ptr<FakeMap> rows = std::make_shared<FakeMap>(sizeof(Key), sizeof(Value));
  BpfMap<Key, Value> map{rows};
};

}  // namespace metatap::dataplane
