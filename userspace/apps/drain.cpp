// SPDX-License-Identifier: Apache-2.0
#include "apps/drain.hpp"

namespace metatap::apps {
namespace {

constexpr std::chrono::milliseconds kLookInterval{5};

}  // namespace

unsigned Drain::running() const {
  unsigned sum = 0;
  for (const auto& door : doors_) {
    sum += door.running();
  }
  return sum;
}

void Drain::look() {
  if (hurry_ || running() == 0 || std::chrono::steady_clock::now() >= end_) {
    control_.stop();
    return;
  }
  timer_.expires_after(kLookInterval);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) {
      look();
    }
  });
}

unsigned Drain::run(std::chrono::milliseconds arrival, std::chrono::milliseconds limit) {
  if (const auto longest = arrival + limit; longest.count() != 0) {
    end_ = std::chrono::steady_clock::now() + longest;
    timer_.expires_after(arrival);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) {
        close_doors();
        look();
      }
    });
    control_.restart();
    control_.run();
  }
  const auto left = running();
  for (const auto& door : doors_) {
    door.end();
  }
  return left;
}

void Drain::close_doors() {
  for (const auto& door : doors_) {
    door.close();
  }
}

}  // namespace metatap::apps
