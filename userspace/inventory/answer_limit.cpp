// SPDX-License-Identifier: Apache-2.0
#include "inventory/answer_limit.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

#include <algorithm>

namespace metatap {

AnswerLimit::AnswerLimit(std::chrono::milliseconds limit)
    : limit_(limit), thread_([this](const std::stop_token& stop) { watch(stop); }) {
  pthread_setname_np(thread_.native_handle(), "store-limit");
}

void AnswerLimit::watch(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    auto next = Clock::time_point::max();
    for (auto& call : calls_) {
      if (!call.expired && call.until <= Clock::now()) {
        call.expired = true;
        ::shutdown(call.socket.get(), SHUT_RDWR);
      }
      if (!call.expired) {
        next = std::min(next, call.until);
      }
    }
    const auto more = [this, before = begun_] { return begun_ != before; };
    if (next == Clock::time_point::max()) {
      changed_.wait(lock, stop, more);
    } else {
      changed_.wait_until(lock, stop, next, more);
    }
  }
}

AnswerLimit::Call::Call(AnswerLimit& owner, int socket) : owner_(owner) {
  const std::lock_guard lock(owner_.mutex_);
  waiting_ = owner_.calls_.insert(
      owner_.calls_.end(),
      {UniqueFd(::fcntl(socket, F_DUPFD_CLOEXEC, 0)), Clock::now() + owner_.limit_});
  ++owner_.begun_;
  owner_.changed_.notify_one();
}

AnswerLimit::Call::~Call() {
  const std::lock_guard lock(owner_.mutex_);
  owner_.calls_.erase(waiting_);
}

void AnswerLimit::Call::heard() {
  const std::lock_guard lock(owner_.mutex_);
  const bool paused = waiting_->until == Clock::time_point::max();
  waiting_->until = Clock::now() + owner_.limit_;
  if (paused) {  // nobody waits for a time that may be earlier than this one
    ++owner_.begun_;
    owner_.changed_.notify_one();
  }
}

void AnswerLimit::Call::pause() {
  const std::lock_guard lock(owner_.mutex_);
  waiting_->until = Clock::time_point::max();
}

bool AnswerLimit::Call::expired() const {
  const std::lock_guard lock(owner_.mutex_);
  return waiting_->expired;
}

}  // namespace metatap
