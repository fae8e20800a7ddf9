// SPDX-License-Identifier: Apache-2.0
#include "http/coroutine.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <memory>
#include <new>
#include <utility>

namespace metatap::http {
namespace {

namespace asio = boost::asio;

/// Waits in the coroutine's place, and holds what resumes it. Owns itself.
template <class Completion>
class Waiter final : public Continuation {
 public:
  Waiter(asio::io_context& here, Completion completion)
      : here_(here), completion_(std::move(completion)) {}

  void answered(Response&& response) noexcept override {
    // Never from within: the coroutine may not be suspended yet.
    asio::post(here_,
               [completion = std::move(completion_), result = std::move(response)]() mutable {
                 std::move(completion)(std::move(result));
               });
    delete this;
  }

 private:
  asio::io_context& here_;
  Completion completion_;
};

}  // namespace

asio::awaitable<Response> co_ask(Handler& handler, const Request& request) {
  const auto executor = co_await asio::this_coro::executor;
  auto& here = static_cast<asio::io_context&>(asio::query(executor, asio::execution::context));
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Response)>(
      [&](auto completion) {
        auto* const waiter = new Waiter<decltype(completion)>(here, std::move(completion));
        if (auto response = handler.ask(request, here, *waiter)) {
          waiter->answered(std::move(*response));
        }
      },
      asio::use_awaitable);
}

void answer_from(asio::awaitable<Response> coroutine, asio::io_context& here,
                 Continuation& then) noexcept {
  Promise promise(then);
  try {
    asio::co_spawn(
        here, std::move(coroutine),
        [promise = std::move(promise)](const std::exception_ptr& error, Response response) mutable {
          promise.keep(error ? failed_response(error) : std::move(response));
        });
  } catch (const std::bad_alloc&) {  // the promise has been kept by its end
  }
}

}  // namespace metatap::http
