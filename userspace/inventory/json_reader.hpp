// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

/// Reads JSON strictly, always knows where it is, and goes on after a mistake, so that all of a
/// document's are told at once. Private to the inventory.
namespace metatap::json {

/// Keys in the order of the document: guests see that order.
using Json = nlohmann::ordered_json;

/// What is wrong with one value. Thrown by who reads it, caught and noted where the next value's
/// turn comes.
struct Refused {
  std::string pointer, reason;
};

/// All that is wrong with a document, in the order in which it was found.
class Mistakes {
 public:
  void add(std::string pointer, std::string reason);
  void add(Refused mistake) { add(std::move(mistake.pointer), std::move(mistake.reason)); }
  [[nodiscard]] std::size_t count() const { return count_; }
  /// ErrorCode::invalid: a line for each, the document as a whole being called "the document".
  /// Beyond the first hundred they are only counted.
  [[nodiscard]] Error error() const;

  /// Does it, and notes what is Refused meanwhile.
  template <class F>
  void note(F&& read) {
    try {
      read();
    } catch (Refused& mistake) {
      add(std::move(mistake));
    }
  }

 private:
  std::vector<Refused> first_;
  std::size_t count_ = 0;
};

/// Brings what a document's {"file": PATH} names.
using FileReader = std::function<Result<std::string>(const std::string& path)>;

/// One reading of one document.
struct Reading {
  Mistakes mistakes;
  FileReader file;  ///< null: files cannot be named here
};

/// Parses a text; a repeated key, bytes that are not UTF-8 and nesting beyond 64 are refused.
Result<Json> parse(std::string_view text);

/// For error messages: quoted, and cut where it is long.
std::string in_quotes(std::string_view text);

/// A value and the way to it. Cheap; lives no longer than the document, its parent and the reading.
class Node {
 public:
  Node(const Json& value, Reading& reading) : value_(&value), reading_(&reading) {}
  Node(const Json& value, const Node& parent, std::string_view key)
      : value_(&value), reading_(parent.reading_), parent_(&parent), key_(key) {}
  Node(const Json& value, const Node& parent, std::size_t index)
      : value_(&value),
        reading_(parent.reading_),
        parent_(&parent),
        index_(index),
        in_array_(true) {}

  [[nodiscard]] const Json& json() const { return *value_; }
  [[nodiscard]] Reading& reading() const { return *reading_; }
  [[nodiscard]] std::string pointer() const;
  /// Of a member of this object, whether or not it is there.
  [[nodiscard]] std::string pointer_to(std::string_view key) const;
  [[noreturn]] void refuse(std::string reason) const {
    throw Refused{pointer(), std::move(reason)};
  }

  [[nodiscard]] const std::string& text() const;
  [[nodiscard]] std::int64_t integer(std::int64_t min, std::int64_t max) const;
  [[nodiscard]] bool boolean() const;
  /// Calls back with each element; what is refused of one is noted, and the next one follows.
  template <class F>
  void each(F&& callback) const {
    expect(value_->is_array(), "an array");
    std::size_t index = 0;
    for (const Json& element : *value_) {
      const Node node(element, *this, index++);
      reading_->mistakes.note([&] { callback(node); });
    }
  }
  void expect(bool fits, std::string_view what) const;

 private:
  const Json* value_;
  Reading* reading_;
  const Node* parent_ = nullptr;
  std::string_view key_;
  std::size_t index_ = 0;
  bool in_array_ = false;
};

}  // namespace metatap::json
