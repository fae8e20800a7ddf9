// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metatap/result.hpp"

namespace metatap::api {

/// A JSON value that survives a round trip as it does through Python's json module: keys keep
/// their order (of a repeated key the first place and the last value), integers keep every digit,
/// and dump() writes byte for byte what json.dumps() would.
class Json {
 public:
  enum class Kind : std::uint8_t { null, boolean, number, string, array, object };
  using Members = std::vector<std::pair<std::string, Json>>;

  Json() = default;
  static Json boolean(bool value);
  static Json integer(long value);
  static Json string(std::string utf8);
  static Json string_or_null(const std::optional<std::string>& utf8);
  static Json array();
  static Json object();

  /// ErrorCode::invalid with the reason. NaN and Infinity, which Python takes, are refused, and so
  /// are lone surrogates and nesting deeper than 500.
  static Result<Json> parse(std::string_view text);

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] bool is_null() const { return kind_ == Kind::null; }
  /// The text of a string, or of a number as Python prints it; empty for the rest.
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const std::vector<Json>& items() const { return items_; }
  [[nodiscard]] const Members& members() const { return members_; }
  /// The member of an object, or nullptr: no such member, or not an object.
  [[nodiscard]] const Json* find(std::string_view key) const;
  /// Python's truth: false for null, false, 0, "", [] and {}.
  [[nodiscard]] bool truthy() const;

  void add(Json item);
  /// Replaces the value in place where the key exists.
  void set(std::string_view key, Json value);

  [[nodiscard]] std::string dump() const;
  void dump_to(std::string& out) const;

 private:
  friend class JsonBuilder;
  Kind kind_ = Kind::null;
  bool flag_ = false;
  std::string text_;
  std::vector<Json> items_;
  Members members_;
};

/// `"text"` with Python's ensure_ascii escapes. Bytes that are not UTF-8 become U+FFFD.
void append_quoted(std::string& out, std::string_view utf8);
/// A float as Python's repr() prints it.
[[nodiscard]] std::string python_float(double value);

}  // namespace metatap::api
