// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// JSON as Neutron, Keystone and OVSDB servers send it.
namespace metatap::agent {

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

/// What is said under `key`: empty or null if that is no text, or `object` no object.
[[nodiscard]] std::string text_of(const nlohmann::json& object, const char* key);
[[nodiscard]] const nlohmann::json& member(const nlohmann::json& object, const char* key);

}  // namespace metatap::agent
