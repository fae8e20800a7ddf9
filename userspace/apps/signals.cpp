// SPDX-License-Identifier: Apache-2.0
#include "apps/signals.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include "base/log.hpp"
#include "base/log_level.hpp"

namespace metatap::apps {

void Signals::obey(std::initializer_list<int> numbers, Orders orders) {
  orders_ = std::move(orders);
  for (const int number : {SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGTERM, SIGPIPE}) {
    if (std::ranges::find(numbers, number) != numbers.end()) {
      signals_.add(number);
    } else {
      std::signal(number, SIG_IGN);
    }
  }
  wait();
}

void Signals::wait() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (!error) {
      take(number);
      wait();
    }
  });
}

void Signals::take(int number) {
  switch (number) {
    case SIGHUP:
      orders_.reload();
      break;
    case SIGUSR1:
      log::set_debug(!log::debugging());
      log::info("SIGUSR1: debug lines are {}",
                log::debugging() ? "written" : "not written any more");
      orders_.debug();
      break;
    case SIGUSR2:
      orders_.leave();
      break;
    default: {
      const auto* const name = number == SIGINT ? "SIGINT" : "SIGTERM";
      const bool again = std::exchange(told_to_end_, true);
      if (again) {
        log::info("{} again: requests in progress are cut off", name);
      } else {
        log::info("stopping: {}", name);
      }
      orders_.end(again);
    }
  }
}

}  // namespace metatap::apps
