// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

/// Reads JSON strictly and always knows where it is. Private to the inventory.
namespace metatap::json {

/// Keys in the order of the document: guests see that order.
using Json = nlohmann::ordered_json;

/// How reading stops: thrown by the readers, caught where a document becomes a Result.
struct Refused {
  std::string pointer, reason;
};

/// Parses a text; a repeated key, bytes that are not UTF-8 and nesting beyond 64 are refused.
Result<Json> parse(std::string_view text);

/// For error messages: quoted, and cut where it is long.
std::string in_quotes(std::string_view text);

class Object;

/// A value and the way to it. Cheap; lives no longer than the document and its parent.
class Node {
 public:
  explicit Node(const Json& value) : value_(&value) {}
  Node(const Json& value, const Node& parent, std::string_view key)
      : value_(&value), parent_(&parent), key_(key) {}
  Node(const Json& value, const Node& parent, std::size_t index)
      : value_(&value), parent_(&parent), index_(index), in_array_(true) {}

  [[nodiscard]] const Json& json() const { return *value_; }
  [[nodiscard]] std::string pointer() const;
  [[noreturn]] void refuse(std::string reason) const {
    throw Refused{pointer(), std::move(reason)};
  }

  [[nodiscard]] const std::string& text() const;
  [[nodiscard]] std::int64_t integer(std::int64_t min, std::int64_t max) const;
  [[nodiscard]] bool boolean() const;
  /// Calls back with each element.
  template <class F>
  void each(F&& callback) const {
    expect(value_->is_array(), "an array");
    std::size_t index = 0;
    for (const Json& element : *value_) {
      callback(Node(element, *this, index++));
    }
  }
  void expect(bool fits, std::string_view what) const;

 private:
  const Json* value_;
  const Node* parent_ = nullptr;
  std::string_view key_;
  std::size_t index_ = 0;
  bool in_array_ = false;
};

/// An object whose keys are all known: those nobody asked for are refused by name in done().
class Object {
 public:
  explicit Object(const Node& node);

  /// The value, or nullopt where the key is absent or null.
  [[nodiscard]] std::optional<Node> find(std::string_view key);
  [[nodiscard]] Node need(std::string_view key);
  /// Whether the key is there at all, be it null.
  [[nodiscard]] bool has(std::string_view key) const { return value_->contains(key); }

  [[nodiscard]] std::string text(std::string_view key, std::string_view fallback = "");
  [[nodiscard]] std::optional<std::string> maybe_text(std::string_view key);
  [[nodiscard]] std::optional<int> maybe_int(std::string_view key, int min, int max);
  [[nodiscard]] bool boolean(std::string_view key, bool fallback);
  template <class F>
  void each(std::string_view key, F&& callback) {
    if (const auto node = find(key)) {
      node->each(callback);
    }
  }
  /// A name another object or a header may carry: 1 to 36 printable characters, no blanks.
  [[nodiscard]] std::string id(std::string_view key);

  void done() const;

 private:
  const Node* node_;
  const Json* value_;
  std::vector<bool> asked_;
};

}  // namespace metatap::json
