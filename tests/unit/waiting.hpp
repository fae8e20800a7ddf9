// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <utility>

#include "metatap/exchange.hpp"

namespace metatap {

/// Waits for an answer without a coroutine, as a session of the server does.
struct Waiting final : Continuation {
  void answered(Response response) override { result = std::move(response); }
  void unanswered() override { again = true; }
  void abandoned() override { dropped = true; }

  std::optional<Response> result;
  bool again = false, dropped = false;
};

}  // namespace metatap
