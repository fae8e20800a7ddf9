// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "metatap/model.hpp"

namespace metatap {

/// Ids of the objects that differ in value: those added, then those changed, then those removed.
/// Calls `equal(id)` for each object that is another one of the same value.
template <class T, class F>
std::vector<std::string> differing_ids(const Inventory::Table<T>& before,
                                       const Inventory::Table<T>& after, F&& equal) {
  std::vector<std::string> ids, changed, removed;
  for_each_difference(before, after, [&](const std::string& id, const T* old, const T* now) {
    if (old == nullptr) {
      ids.push_back(id);
    } else if (now == nullptr) {
      removed.push_back(id);
    } else if (*old != *now) {
      changed.push_back(id);
    } else {
      equal(id);
    }
  });
  ids.insert(ids.end(), changed.begin(), changed.end());
  ids.insert(ids.end(), removed.begin(), removed.end());
  return ids;
}

/// The same, and what is equal in `after` becomes the very object of `before`, so that it is
/// shared.
template <class T>
std::vector<std::string> settle(const Inventory::Table<T>& before, Inventory::Table<T>& after) {
  std::vector<std::string> equal;
  auto ids = differing_ids(before, after, [&](const std::string& id) { equal.push_back(id); });
  for (const auto& id : equal) {
    after[id] = before.at(id);
  }
  return ids;
}

/// What leads from one inventory to another. A commit comes with its own (Store::replace); this is
/// for two states that no commit of ours led from one to the other.
InventoryChange difference(std::shared_ptr<const Inventory> before,
                           std::shared_ptr<const Inventory> after);

}  // namespace metatap
