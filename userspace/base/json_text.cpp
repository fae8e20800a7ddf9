// SPDX-License-Identifier: Apache-2.0
#include "base/json_text.hpp"

#include <utility>

namespace metatap {

std::optional<std::vector<std::string>> JsonSplitter::take(std::string_view bytes) {
  std::vector<std::string> texts;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    const char c = bytes[at];
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (c == '{' || c == '[') {
      if (++depth_ > kDeepestJson) {
        return std::nullopt;
      }
      continue;
    }
    if (depth_ == 0) {
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
        return std::nullopt;
      }
      begin = at + 1;
      continue;
    }
    if (c == '"') {
      in_string_ = true;
    } else if ((c == '}' || c == ']') && --depth_ == 0) {
      text_.append(bytes.substr(begin, at + 1 - begin));
      texts.push_back(std::move(text_));
      text_.clear();
      begin = at + 1;
    }
  }
  text_.append(bytes.substr(begin));
  return texts;
}

namespace {

template <class Json>
std::optional<Json> one_object(std::string_view text) {
  JsonSplitter splitter;
  const auto texts = splitter.take(text);
  if (!texts || texts->size() != 1 || splitter.pending() != 0) {
    return std::nullopt;
  }
  auto value = Json::parse(texts->front(), nullptr, false);
  return value.is_object() ? std::optional(std::move(value)) : std::nullopt;
}

}  // namespace

std::optional<nlohmann::json> json_object(std::string_view text) {
  return one_object<nlohmann::json>(text);
}

std::optional<nlohmann::ordered_json> ordered_json_object(std::string_view text) {
  return one_object<nlohmann::ordered_json>(text);
}

}  // namespace metatap
