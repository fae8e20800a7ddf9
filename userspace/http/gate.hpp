// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "http/flight.hpp"

namespace metatap::http {

/// Lets so many pass at a time; others wait for their turn, in the order in which they came.
/// Thread-safe.
class Gate : public std::enable_shared_from_this<Gate> {
 public:
  explicit Gate(std::size_t most) : free_(most) {}

  /// Lets the next one in when it goes.
  class Pass {
   public:
    explicit Pass(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}
    Pass(Pass&& other) noexcept = default;
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_) {
        gate_->leave();
      }
    }

   private:
    std::shared_ptr<Gate> gate_;
  };

  [[nodiscard]] boost::asio::awaitable<Pass> enter() {
    std::shared_ptr<Flight<bool>> turn;
    {
      const std::scoped_lock lock(mutex_);
      if (free_ > 0) {
        --free_;
      } else {
        turn = waiting_.emplace_back(std::make_shared<Flight<bool>>());
      }
    }
    if (turn) {
      static_cast<void>(co_await turn->wait());
    }
    co_return Pass(shared_from_this());
  }

 private:
  void leave() {
    std::shared_ptr<Flight<bool>> next;
    {
      const std::scoped_lock lock(mutex_);
      if (waiting_.empty()) {
        ++free_;
        return;
      }
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next->land(true);
  }

  std::mutex mutex_;
  std::size_t free_;
  std::deque<std::shared_ptr<Flight<bool>>> waiting_;
};

}  // namespace metatap::http
