// SPDX-License-Identifier: Apache-2.0
#include "importer/known_keys.hpp"

#include <algorithm>

#include "inventory/document_keys.hpp"

namespace metatap::importer {
namespace {

using json::Key;
using json::KeyList;
using json::Shape;

const Key* find(const KeyList& list, std::string_view name) {
  const auto found = std::ranges::find(list.keys, name, &Key::name);
  return found == list.keys.end() ? nullptr : &*found;
}

void reduce_object(const KeyList& keys, Json& object, const std::set<std::string_view>& kept,
                   const std::string& where, std::map<std::string, std::size_t>& unknown) {
  if (!object.is_object()) {
    return;  // reading the document says so
  }
  Json reduced = Json::object();
  for (auto& [name, value] : object.items()) {
    const Key* const key = find(keys, name);
    if (key == nullptr || value.is_null()) {
      if (kept.contains(name)) {
        reduced[name] = std::move(value);
      } else if (key == nullptr && std::ranges::find(keys.ignored, name) == keys.ignored.end()) {
        ++unknown[where + "/" + name];
      }
      continue;
    }
    if (key->shape.kind == Shape::Kind::object && key->shape.keys) {
      if (key->shape.list && value.is_array()) {
        for (auto& item : value) {
          reduce_object(*key->shape.keys, item, {}, where + "/" + name, unknown);
        }
      } else if (!key->shape.list) {
        reduce_object(*key->shape.keys, value, {}, where + "/" + name, unknown);
      }
    }
    reduced[name] = std::move(value);
  }
  object = std::move(reduced);
}

}  // namespace

void KnownKeys::reduce(std::string_view table, Json& object,
                       const std::set<std::string_view>& kept) {
  const Key* const entry = find(document_keys(), table);
  if (entry != nullptr && entry->shape.keys) {
    reduce_object(*entry->shape.keys, object, kept, std::string(table), unknown_);
  }
}

}  // namespace metatap::importer
