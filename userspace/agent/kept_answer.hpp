// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::agent {

/// An answer of the API's that is given more than once. What Nova makes anew for each answer is
/// made anew here: the random seed of meta_data.json.
class KeptAnswer {
 public:
  /// Whether an answer to this may be kept at all: a GET of a path without a query, and not of the
  /// password, which the guest itself changes. (A query changes no answer of Nova's, so a guest
  /// could have one answer kept under many names.)
  [[nodiscard]] static bool may_be(const Request& request);
  /// nullopt: it is not 200.
  [[nodiscard]] static std::optional<KeptAnswer> of(const Request& request, Response response);

  [[nodiscard]] Response again() const;
  /// Whether it may be kept for an outage, and not only for as long as Nova itself keeps it: it
  /// holds no administrator's password.
  [[nodiscard]] bool outlasts() const { return outlasts_; }
  [[nodiscard]] std::size_t bytes() const { return body_->size() + content_type_.size(); }

 private:
  KeptAnswer(std::string content_type, std::string body)
      : content_type_(std::move(content_type)),
        body_(std::make_shared<const std::string>(std::move(body))) {}

  std::string content_type_;
  std::shared_ptr<const std::string> body_;  ///< without the seed
  std::optional<std::size_t> seed_at_;
  bool outlasts_ = true;
};

/// Where the text of a member is in a JSON object, without its quotes: a member of the object
/// itself, not of what is in it. nullopt: there is none, or it is no text, or the object is none.
struct TextRange {
  std::size_t begin = 0, length = 0;
};
[[nodiscard]] std::optional<TextRange> text_member(std::string_view json, std::string_view name);

}  // namespace metatap::agent
