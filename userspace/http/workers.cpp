// SPDX-License-Identifier: Apache-2.0
#include "http/workers.hpp"

#include <pthread.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <future>
#include <string>

namespace metatap::http {
namespace {

thread_local unsigned this_worker = 0;

}  // namespace

Workers::Workers(unsigned count, const OverloadLimits& limits)
    : overload_(std::make_shared<Overload>(limits)) {
  const unsigned parts = std::max(count, 1U);
  for (unsigned i = 0; i < parts; ++i) {
    loops_.push_back(std::make_unique<Loop>());
    boost::asio::make_service<OverloadShare>(loops_.back()->context, overload_, parts);
  }
}

Workers::~Workers() {
  stop();
  join();
}

void Workers::start() {
  for (std::size_t i = 0; i < loops_.size(); ++i) {
    Loop& loop = *loops_[i];
    if (loop.thread.joinable()) {
      continue;
    }
    loop.context.restart();
    loop.work.emplace(loop.context.get_executor());
    loop.thread = std::thread([&loop, i] {
      this_worker = static_cast<unsigned>(i);
      loop.context.run();
    });
    pthread_setname_np(loop.thread.native_handle(), ("worker-" + std::to_string(i)).c_str());
  }
}

void Workers::stop() {
  for (const auto& loop : loops_) {
    loop->work.reset();
    loop->context.stop();
  }
}

void Workers::join() {
  for (const auto& loop : loops_) {
    if (loop->thread.joinable()) {
      loop->thread.join();
    }
  }
}

unsigned Workers::here() {
  return this_worker;
}

void Workers::run_on(unsigned index, const std::function<void()>& task) {
  Loop& loop = *loops_[index % loops_.size()];
  if (!loop.thread.joinable() || loop.context.stopped() ||
      loop.context.get_executor().running_in_this_thread()) {
    task();
    return;
  }
  const auto done = std::make_shared<std::promise<void>>();
  auto finished = done->get_future();
  boost::asio::post(loop.context, [&task, done] {
    task();
    done->set_value();
  });
  // A loop that is stopped meanwhile will not run it any more.
  while (finished.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
    if (loop.context.stopped()) {
      return;
    }
  }
}

}  // namespace metatap::http
