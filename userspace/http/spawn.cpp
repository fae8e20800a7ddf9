// SPDX-License-Identifier: Apache-2.0
#include "http/spawn.hpp"

#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "http/detached.hpp"

namespace metatap::http {

namespace asio = boost::asio;

Error thrown(std::string_view what, const std::exception_ptr& error) noexcept {
  try {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& known) {
      log::error("{}: unexpected: {}", what, known.what());
      return {ErrorCode::internal, std::string("unexpected: ") + known.what()};
    } catch (...) {
      log::error("{}: threw what is no exception", what);
      return {ErrorCode::internal, "unexpected"};
    }
  } catch (...) {  // out of memory while we say so
    return {};
  }
}

void Detached::promise_type::unhandled_exception() noexcept {
  (void)thrown("a connection", std::current_exception());
}

void spawn(const asio::any_io_executor& executor, asio::awaitable<void> coroutine,
           std::string_view what, std::function<void(Error)> failed) {
  asio::co_spawn(
      executor, std::move(coroutine),
      [name = std::string(what), failed = std::move(failed)](const std::exception_ptr& error) {
        if (!error) {
          return;
        }
        auto why = thrown(name, error);
        if (failed) {
          failed(std::move(why));
        }
      });
}

}  // namespace metatap::http
