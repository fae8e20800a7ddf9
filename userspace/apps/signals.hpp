// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <functional>
#include <initializer_list>

namespace metatap::apps {

/// What signals ask of a process: SIGHUP to read its configuration anew, SIGUSR1 to write debug
/// lines or not any more, SIGUSR2 to leave all to the process that comes after it, SIGINT and
/// SIGTERM to end. SIGPIPE is ignored, and so is whatever it is not to obey. Control thread.
class Signals {
 public:
  struct Orders {
    std::function<void()> reload;
    std::function<void()> debug;  ///< debug lines have been turned on or off
    std::function<void()> leave;
    std::function<void(bool again)> end;  ///< `again`: it was told before
  };
  explicit Signals(boost::asio::io_context& control) : signals_(control) {}

  void obey(std::initializer_list<int> numbers, Orders orders);
  /// Another one, from now on.
  void obey(int number) { signals_.add(number); }

 private:
  void wait();
  void take(int number);

  boost::asio::signal_set signals_;
  Orders orders_;
  bool told_to_end_ = false;
};

}  // namespace metatap::apps
