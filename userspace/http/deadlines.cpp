// SPDX-License-Identifier: Apache-2.0
#include "http/deadlines.hpp"

#include <ctime>

namespace metatap::http {

boost::asio::execution_context::id Deadlines::id;

Deadlines::Deadlines(boost::asio::execution_context& context)
    : service(context), timer_(static_cast<boost::asio::io_context&>(context)) {}

std::int64_t Deadlines::now() {
  timespec at{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &at);
  return static_cast<std::int64_t>(at.tv_sec) * 1000 + at.tv_nsec / 1'000'000;
}

void Deadlines::add(Entry& entry) {
  entries_.push_back(entry);
  arm();
}

void Deadlines::shutdown() {
  entries_.clear();
  timer_.cancel();
}

void Deadlines::arm() {
  if (armed_) {
    return;
  }
  armed_ = true;
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) {
      tick();
    }
  });
}

void Deadlines::tick() {
  armed_ = false;
  const std::int64_t at = now();
  for (Entry& entry : entries_) {
    if (entry.at_ <= at) {
      entry.at_ = Entry::kNever;
      entry.expired();
    }
  }
  if (!entries_.empty()) {
    arm();
  }
}

}  // namespace metatap::http
