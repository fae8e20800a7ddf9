// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::dataplane {

/// The rows of one map: in the kernel, or in memory for tests. Keys and values are bytes, as many
/// as the map was made for. Each call is one system call.
class MapRows {
 public:
  virtual ~MapRows() = default;
  [[nodiscard]] virtual Status put(const void* key, const void* value) = 0;
  /// False: there is no such row.
  [[nodiscard]] virtual Result<bool> get(const void* key, void* value) const = 0;
  /// False: there was no such row.
  [[nodiscard]] virtual Result<bool> erase(const void* key) = 0;
  /// The key after `previous`, or the first one for null. False: there is none.
  [[nodiscard]] virtual Result<bool> next(const void* previous, void* key) const = 0;
};

/// The rows of a BPF map whose descriptor outlives this. `name` is for errors: "write mt_ports: …".
[[nodiscard]] std::shared_ptr<MapRows> kernel_map(int fd, std::string name);

/// A map with its types. Copies are the same map. Safe to read from any thread; two threads must
/// not write the same row.
template <class Key, class Value>
class BpfMap {
  static_assert(std::is_trivially_copyable_v<Key> && std::is_trivially_copyable_v<Value>);

 public:
  explicit BpfMap(std::shared_ptr<MapRows> rows) : rows_(std::move(rows)) {}

  [[nodiscard]] Status put(const Key& key, const Value& value) const {
    return rows_->put(&key, &value);
  }

  /// nullopt: there is no such row.
  [[nodiscard]] Result<std::optional<Value>> get(const Key& key) const {
    Value value{};
    const auto found = rows_->get(&key, &value);
    if (!found) {
      return tl::make_unexpected(found.error());
    }
    return *found ? std::optional<Value>(value) : std::nullopt;
  }

  /// The row is not there afterwards. True: it was.
  [[nodiscard]] Result<bool> erase(const Key& key) const { return rows_->erase(&key); }

  /// Erases every row.
  [[nodiscard]] Status clear() const {
    const auto all = keys();
    if (!all) {
      return tl::make_unexpected(all.error());
    }
    for (const Key& key : *all) {
      if (const auto gone = erase(key); !gone) {
        return tl::make_unexpected(gone.error());
      }
    }
    return {};
  }

  /// The keys that are there now.
  [[nodiscard]] Result<std::vector<Key>> keys() const {
    std::vector<Key> all;
    for (const Key* previous = nullptr;; previous = &all.back()) {
      Key key{};
      const auto found = rows_->next(previous, &key);
      if (!found) {
        return tl::make_unexpected(found.error());
      }
      if (!*found) {
        return all;
      }
      all.push_back(key);
    }
  }

  /// Calls `f(key, value)` for each row. It may change the map: the keys are read beforehand.
  template <class F>
  [[nodiscard]] Status each(F&& f) const {
    const auto all = keys();
    if (!all) {
      return tl::make_unexpected(all.error());
    }
    for (const Key& key : *all) {
      const auto value = get(key);
      if (!value) {
        return tl::make_unexpected(value.error());
      }
      if (*value) {
        f(key, **value);
      }
    }
    return {};
  }

 private:
  std::shared_ptr<MapRows> rows_;
};

}  // namespace metatap::dataplane
