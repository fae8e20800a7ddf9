// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "sys/notify.hpp"

namespace metatap::apps {

/// Tells systemd's watchdog that this context's loop still turns, twice in each interval, where
/// systemd asks for it.
class Watchdog {
 public:
  explicit Watchdog(boost::asio::io_context& control) : timer_(control) {}

  void start() {
    if (const auto interval = sys::watchdog_interval()) {
      tell(*interval / 2);
    }
  }
  void stop() { timer_.cancel(); }

 private:
  void tell(std::chrono::microseconds again_after) {
    sys::notify_watchdog();
    timer_.expires_after(again_after);
    timer_.async_wait([this, again_after](boost::system::error_code error) {
      if (!error) {
        tell(again_after);
      }
    });
  }

  boost::asio::steady_timer timer_;
};

}  // namespace metatap::apps
