// SPDX-License-Identifier: Apache-2.0
#include "agent/kept_answer.hpp"

#include <utility>

#include "base/random_seed.hpp"

namespace metatap::agent {
namespace {

/// Walks over a JSON text that a JSON writer has made; it stops at what it does not understand.
class Walk {
 public:
  explicit Walk(std::string_view json) : json_(json) {}

  [[nodiscard]] bool at_end() const { return at_ >= json_.size(); }
  [[nodiscard]] char here() const { return at_end() ? '\0' : json_[at_]; }
  void step() { ++at_; }
  void skip(std::string_view characters) {
    while (!at_end() && characters.find(json_[at_]) != std::string_view::npos) {
      ++at_;
    }
  }
  /// From its opening quote; ends behind the closing one.
  std::optional<TextRange> text() {
    if (here() != '"') {
      return std::nullopt;
    }
    const std::size_t begin = ++at_;
    for (; !at_end(); ++at_) {
      if (json_[at_] == '\\') {
        ++at_;
      } else if (json_[at_] == '"') {
        return TextRange{begin, at_++ - begin};
      }
    }
    return std::nullopt;
  }
  /// Whatever it is.
  bool value() {
    int depth = 0;
    while (!at_end()) {
      const char next = here();
      if (next == '"') {
        if (!text()) {
          return false;
        }
        continue;
      }
      if (next == '{' || next == '[') {
        ++depth;
      } else if (depth == 0 && (next == ',' || next == '}')) {
        return true;
      } else if (next == '}' || next == ']') {
        --depth;
      }
      step();
    }
    return false;
  }

 private:
  std::string_view json_;
  std::size_t at_ = 0;
};

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

std::optional<TextRange> text_member(std::string_view json, std::string_view name) {
  Walk walk(json);
  walk.skip(kSpace);
  if (walk.here() != '{') {
    return std::nullopt;
  }
  do {
    walk.step();
    walk.skip(kSpace);
    const auto key = walk.text();
    walk.skip(" \t\r\n:");
    if (key && json.substr(key->begin, key->length) == name) {
      return walk.text();
    }
    if (!key || !walk.value()) {
      return std::nullopt;
    }
  } while (walk.here() == ',');
  return std::nullopt;
}

bool KeptAnswer::may_be(const Request& request) {
  return request.method == "GET" && request.body.empty() &&
         request.target.find_first_of("?%") == std::string_view::npos &&
         request.target.find("/password") == std::string_view::npos;
}

std::optional<KeptAnswer> KeptAnswer::of(const Request& request, Response response) {
  if (response.status != 200) {
    return std::nullopt;
  }
  auto body = response.body.str();
  if (request.target.find("/meta_data.json") == std::string_view::npos) {
    return KeptAnswer(std::move(response.content_type), std::move(body));
  }
  const bool secret = text_member(body, "admin_pass").has_value();
  const auto seed = text_member(body, "random_seed");
  if (seed) {
    body.erase(seed->begin, seed->length);
  }
  KeptAnswer kept(std::move(response.content_type), std::move(body));
  if (seed) {
    kept.seed_at_ = seed->begin;
  }
  kept.outlasts_ = !secret;
  return kept;
}

Response KeptAnswer::again() const {
  Response response;
  response.content_type = content_type_;
  if (seed_at_) {
    std::string seed;
    append_random_seed(seed);
    response.body = Body(body_, *seed_at_, std::move(seed));
  } else {
    response.body = Body(body_);
  }
  return response;
}

}  // namespace metatap::agent
