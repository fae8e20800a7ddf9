// SPDX-License-Identifier: Apache-2.0
#include "api/json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/text.hpp"

namespace metatap::api {
namespace {

constexpr std::size_t kMaxDepth = 500;

void append_escape(std::string& out, unsigned unit) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) {
    out += kHex[(unit >> shift) & 0xFU];
  }
}

/// The code point at the head of `rest`, which is shortened by it. 0xFFFD for what is not UTF-8.
unsigned take_code_point(std::string_view& rest) {
  const auto character = first_character(rest);
  rest.remove_prefix(std::max<std::size_t>(character.bytes, 1));
  return character.bytes == 0 ? 0xFFFDU : static_cast<unsigned>(character.point);
}

}  // namespace

void append_quoted(std::string& out, std::string_view utf8) {
  out += '"';
  while (!utf8.empty()) {
    const char c = utf8.front();
    const auto plain = static_cast<std::size_t>(
        std::ranges::find_if(utf8,
                             [](char x) { return x < ' ' || x > '~' || x == '"' || x == '\\'; }) -
        utf8.begin());
    if (plain > 0) {
      out.append(utf8.substr(0, plain));
      utf8.remove_prefix(plain);
      continue;
    }
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x80) {
          append_escape(out, static_cast<unsigned char>(c));
          break;
        }
        if (const unsigned point = take_code_point(utf8); point >= 0x10000) {
          append_escape(out, 0xD800 + ((point - 0x10000) >> 10U));
          append_escape(out, 0xDC00 + ((point - 0x10000) & 0x3FFU));
        } else {
          append_escape(out, point);
        }
        continue;
    }
    utf8.remove_prefix(1);
  }
  out += '"';
}

std::string python_float(double value) {
  if (!std::isfinite(value)) {
    return std::isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity";
  }
  // The shortest digits that read back as the same number, then Python's own layout of them.
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  std::string_view text(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  std::string out;
  if (text.front() == '-') {
    out += '-';
    text.remove_prefix(1);
  }
  const auto e = text.find('e');
  std::string digits(1, text[0]);
  if (e > 1) {
    digits.append(text.substr(2, e - 2));
  }
  int exponent = 0;
  const auto* sign = text.data() + e + 1;
  std::from_chars(*sign == '+' ? sign + 1 : sign, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) {
      out.append(".").append(digits, 1);
    }
    out += exponent < 0 ? "e-" : "e+";
    const auto magnitude = std::to_string(std::abs(exponent));
    return out.append(magnitude.size() < 2 ? "0" : "").append(magnitude);
  }
  if (exponent < 0) {
    return out.append("0.").append(static_cast<std::size_t>(-exponent - 1), '0').append(digits);
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() < whole) {
    digits.append(whole - digits.size(), '0');
  }
  out.append(digits, 0, whole).append(".");
  return digits.size() > whole ? out.append(digits, whole) : out.append("0");
}

Json Json::boolean(bool value) {
  Json json;
  json.kind_ = Kind::boolean;
  json.flag_ = value;
  return json;
}

Json Json::integer(long value) {
  Json json;
  json.kind_ = Kind::number;
  json.text_ = std::to_string(value);
  return json;
}

Json Json::string(std::string utf8) {
  Json json;
  json.kind_ = Kind::string;
  json.text_ = std::move(utf8);
  return json;
}

Json Json::string_or_null(const std::optional<std::string>& utf8) {
  return utf8 ? string(*utf8) : Json();
}

Json Json::array() {
  Json json;
  json.kind_ = Kind::array;
  return json;
}

Json Json::object() {
  Json json;
  json.kind_ = Kind::object;
  return json;
}

const Json* Json::find(std::string_view key) const {
  const auto found =
      std::ranges::find(members_, key, [](const auto& m) { return std::string_view(m.first); });
  return found == members_.end() ? nullptr : &found->second;
}

bool Json::truthy() const {
  switch (kind_) {
    case Kind::null:
      return false;
    case Kind::boolean:
      return flag_;
    case Kind::number:
      return text_ != "0" && text_ != "0.0" && text_ != "-0.0";
    case Kind::string:
      return !text_.empty();
    case Kind::array:
      return !items_.empty();
    case Kind::object:
      return !members_.empty();
  }
  return false;
}

void Json::add(Json item) {
  items_.push_back(std::move(item));
}

void Json::set(std::string_view key, Json value) {
  const auto found =
      std::ranges::find(members_, key, [](const auto& m) { return std::string_view(m.first); });
  if (found != members_.end()) {
    found->second = std::move(value);
  } else {
    members_.emplace_back(std::string(key), std::move(value));
  }
}

std::string Json::dump() const {
  std::string out;
  dump_to(out);
  return out;
}

void Json::dump_to(std::string& out) const {
  switch (kind_) {
    case Kind::null:
      out += "null";
      break;
    case Kind::boolean:
      out += flag_ ? "true" : "false";
      break;
    case Kind::number:
      out += text_;
      break;
    case Kind::string:
      append_quoted(out, text_);
      break;
    case Kind::array: {
      out += '[';
      bool first = true;
      for (const Json& item : items_) {
        out += first ? "" : ", ";
        first = false;
        item.dump_to(out);
      }
      out += ']';
      break;
    }
    case Kind::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, value] : members_) {
        out += first ? "" : ", ";
        first = false;
        append_quoted(out, key);
        out += ": ";
        value.dump_to(out);
      }
      out += '}';
      break;
    }
  }
}

/// Builds a Json from nlohmann's events: its own values would lose digits of integers and the
/// order of keys.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return put(Json()); }
  bool boolean(bool value) override { return put(Json::boolean(value)); }
  bool number_integer(number_integer_t value) override { return put(Json::integer(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    return put(number(std::to_string(value)));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    // An integer of more than 64 bits arrives as a float; Python's has no limit.
    const bool integer = text.find_first_of(".eE") == std::string::npos;
    return put(number(integer ? text : python_float(value)));
  }
  bool string(string_t& value) override { return put(Json::string(std::move(value))); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool key(string_t& value) override {
    keys_.back() = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = "not JSON at byte " + std::to_string(position);
    return false;
  }

  Json root;
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  static Json number(std::string text) {
    Json json;
    json.kind_ = Json::Kind::number;
    json.text_ = std::move(text);
    return json;
  }
  bool put(Json value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (open_.back().kind() == Json::Kind::array) {
      open_.back().add(std::move(value));
    } else {
      open_.back().set(keys_.back(), std::move(value));
    }
    return true;
  }
  bool open(Json container) {
    if (open_.size() >= kMaxDepth) {
      error_ = "nested too deeply";
      return false;
    }
    open_.push_back(std::move(container));
    keys_.emplace_back();
    return true;
  }
  bool close() {
    Json done = std::move(open_.back());
    open_.pop_back();
    keys_.pop_back();
    return put(std::move(done));
  }

  std::vector<Json> open_;
  std::vector<std::string> keys_;
  std::string error_;
};

Result<Json> Json::parse(std::string_view text) {
  JsonBuilder builder;
  try {
    if (nlohmann::json::sax_parse(text, &builder)) {
      return std::move(builder.root);
    }
  } catch (const std::exception& e) {
    return fail(ErrorCode::invalid, e.what());
  }
  return fail(ErrorCode::invalid, builder.error().empty() ? "not JSON" : builder.error());
}

}  // namespace metatap::api
