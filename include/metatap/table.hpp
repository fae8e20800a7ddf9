// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "metatap/persistent_map.hpp"

namespace metatap {

/// Objects by id, in the order of ids.
template <class T>
using Table = PersistentMap<std::shared_ptr<const T>, InOrder>;

/// The object of that id, or nullptr.
template <class T>
[[nodiscard]] const T* get(const Table<T>& table, std::string_view id) {
  const auto* object = table.get(id);
  return object == nullptr ? nullptr : object->get();
}

}  // namespace metatap
