// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "metatap/exchange.hpp"

namespace metatap {

/// Waits for a response without a coroutine, as a session of the server does.
struct Waiting final : Continuation {
  void answered(Response&& response) noexcept override {
    ++times;
    result = std::move(response);
  }

  std::optional<Response> result;
  int times = 0;
};

/// The response of a stage, waiting for it where it has to.
inline Response ask(Handler& handler, const Request& request, boost::asio::io_context& here) {
  Waiting waiting;
  if (auto response = handler.ask(request, here, waiting)) {
    return std::move(*response);
  }
  // Until it is there: connections kept for reuse would keep the loop running.
  here.restart();
  while (!waiting.result && here.run_one() > 0) {
  }
  return std::move(waiting.result).value();
}

inline Response ask(Handler& handler, const Request& request) {
  boost::asio::io_context here{1};
  return ask(handler, request, here);
}

/// Only what is there at once.
inline std::optional<Response> ask_at_once(Handler& handler, const Request& request) {
  Waiting waiting;
  boost::asio::io_context here{1};  // goes first, and tells who waits in it
  return handler.ask(request, here, waiting);
}

/// What a coroutine comes to, in a context that nobody else runs.
template <class T>
T answer_of(boost::asio::io_context& context, boost::asio::awaitable<T> coroutine) {
  std::optional<T> answer;
  boost::asio::co_spawn(context, std::move(coroutine), [&](std::exception_ptr error, T value) {
    if (error) {
      std::rethrow_exception(error);
    }
    answer = std::move(value);
  });
  context.restart();
  while (!answer && context.run_one() > 0) {
  }
  return std::move(answer).value();
}

}  // namespace metatap
