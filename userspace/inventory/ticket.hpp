// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "inventory/plan.hpp"
#include "metatap/result.hpp"

namespace metatap {

/// One who waits for the store, on the control thread.
class Ticket : public std::enable_shared_from_this<Ticket> {
 public:
  Ticket(const boost::asio::any_io_executor& executor, std::chrono::milliseconds limit)
      : limit_(executor, limit) {}

  std::optional<Result<Plan>> plan;
  std::atomic<bool> taken = false;  ///< by the store's thread, or by who gave up waiting

  /// Until go_on(), or for as long as the limit is.
  boost::asio::awaitable<void> wait() {
    limit_.async_wait([self = shared_from_this()](auto cancelled) {
      if (!cancelled) {
        self->go_on();
      }
    });
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(
        [this](auto handler) {
          // std::function wants what can be copied.
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          resume_ = [shared] { std::move (*shared)(); };
        },
        boost::asio::use_awaitable);
  }
  void go_on() {
    limit_.cancel();
    if (const auto resume = std::exchange(resume_, nullptr)) {
      resume();
    }
  }
  /// Nobody will come: who waits is forgotten.
  void drop() {
    limit_.cancel();
    std::exchange(resume_, nullptr);
  }

 private:
  boost::asio::steady_timer limit_;
  std::function<void()> resume_;
};

}  // namespace metatap
