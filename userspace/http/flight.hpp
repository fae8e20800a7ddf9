// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace metatap::http {

/// One answer that several coroutines wait for, each on its own executor. Thread-safe.
template <class T>
class Flight {
 public:
  /// Each waiter gets a copy and goes on where it was.
  void land(T value) {
    std::vector<std::function<void()>> waiters;
    {
      const std::scoped_lock lock(mutex_);
      value_ = std::move(value);
      waiters.swap(waiters_);
    }
    for (const auto& resume : waiters) {
      resume();
    }
  }

  [[nodiscard]] boost::asio::awaitable<T> wait() {
    const boost::asio::any_io_executor executor =
        boost::asio::prefer(boost::asio::any_io_executor(co_await boost::asio::this_coro::executor),
                            boost::asio::execution::outstanding_work.tracked);
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(
        [this, &executor](auto handler) {
          // std::function wants what can be copied.
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          auto resume = [shared, executor] {
            boost::asio::post(executor, [shared] { std::move (*shared)(); });
          };
          std::unique_lock lock(mutex_);
          if (value_) {
            lock.unlock();
            resume();
          } else {
            waiters_.push_back(std::move(resume));
          }
        },
        boost::asio::use_awaitable);
    co_return *value_;
  }

 private:
  std::mutex mutex_;
  std::optional<T> value_;  ///< set once
  std::vector<std::function<void()>> waiters_;
};

}  // namespace metatap::http
