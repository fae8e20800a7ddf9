// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <utility>

namespace metatap {

/// Where a thread that may be late leaves its results: they run on an executor, as long as somebody
/// is there to take them. Shared by both; thread-safe.
class Mailbox {
 public:
  explicit Mailbox(boost::asio::any_io_executor receiver) : receiver_(std::move(receiver)) {}

  template <class F>
  void post(F&& result) {
    const std::lock_guard lock(mutex_);
    if (open_) {
      boost::asio::post(receiver_, std::forward<F>(result));
    }
  }
  /// Once this returns, the executor may go.
  void close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }

 private:
  const boost::asio::any_io_executor receiver_;
  std::mutex mutex_;
  bool open_ = true;
};

}  // namespace metatap
