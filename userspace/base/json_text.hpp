// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// JSON as Keystone, Neutron, Nova and OVSDB servers send it.
namespace metatap {

/// Nothing they say is nested more than about ten deep. nlohmann's values are copied, compared and
/// written by recursion, so that deeper ones would take the stack, and the process, with them.
inline constexpr int kDeepestJson = 64;

/// Finds where one JSON text ends and the next begins in a stream without separators.
class JsonSplitter {
 public:
  /// Takes bytes and gives back the complete texts in them, in order. nullopt: the stream is not
  /// JSON, for bytes between texts can belong to none; or it is nested deeper than kDeepestJson.
  [[nodiscard]] std::optional<std::vector<std::string>> take(std::string_view bytes);
  [[nodiscard]] std::size_t pending() const { return text_.size(); }

 private:
  std::string text_;
  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

/// A text that is one JSON object, nested no deeper than kDeepestJson. nullopt: it is none.
[[nodiscard]] std::optional<nlohmann::json> json_object(std::string_view text);
/// The same with its keys in the order in which they came.
[[nodiscard]] std::optional<nlohmann::ordered_json> ordered_json_object(std::string_view text);

/// What is said under `key`: null if `object` is no object, or has no such key.
template <class Json>
[[nodiscard]] const Json& member(const Json& object, const char* key) {
  static const Json kNone;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? *found : kNone;
}
/// The same as a text; empty if it is none.
template <class Json>
[[nodiscard]] std::string text_of(const Json& object, const char* key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.template get<std::string>() : "";
}

}  // namespace metatap
