// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>

#include "metatap/exchange.hpp"

/// Between stages and Asio's coroutines.
namespace metatap::http {

/// co_await gives a tuple that begins with the error.
inline constexpr auto kAsTuple = boost::asio::as_tuple(boost::asio::use_awaitable);

/// Asks a stage from a coroutine, which runs on an io_context. The stage outlives the answer.
[[nodiscard]] boost::asio::awaitable<Response> co_ask(Handler& handler, const Request& request);

/// Lets a coroutine answer: starts it in `here`; `then` gets what it returns, or 500 if it throws.
void answer_from(boost::asio::awaitable<Response> coroutine, boost::asio::io_context& here,
                 Continuation& then) noexcept;

/// A stage that is a coroutine.
class CoroutineHandler : public Handler {
 private:
  [[nodiscard]] virtual boost::asio::awaitable<Response> respond(const Request& request) = 0;
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) final {
    answer_from(respond(request), here, then);
    return std::nullopt;
  }
};

}  // namespace metatap::http
