// SPDX-License-Identifier: Apache-2.0
#include "http/readiness.hpp"

#include <boost/asio/post.hpp>
#include <cerrno>
#include <system_error>

#include "http/detached.hpp"

namespace metatap::http {
namespace {

// An error or the peer's end is an event of either kind: the system call that follows names it.
constexpr std::uint32_t kAlways = EPOLLERR | EPOLLHUP;
constexpr std::uint32_t kReading = EPOLLIN | EPOLLRDHUP;

std::uint32_t told(std::uint32_t wanted) {
  return wanted | kAlways | ((wanted & EPOLLIN) != 0 ? static_cast<std::uint32_t>(EPOLLRDHUP) : 0);
}

}  // namespace

boost::asio::execution_context::id Readiness::id;

Readiness::Readiness(boost::asio::execution_context& context)
    : service(context),
      context_(static_cast<boost::asio::io_context&>(context)),
      epoll_(context_),
      batch_() {
  const int fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (fd < 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_create1");
  }
  epoll_.assign(fd);
}

void Readiness::shutdown() {
  ended_ = true;
  while (!waiting_.empty()) {
    Watch& watch = waiting_.front();
    watch.end_rest();
    if (watch.waiter_) {
      watch.unlink();
      std::exchange(watch.waiter_, {}).destroy();  // and the watch with it
    }
  }
}

bool Readiness::control(int operation, Watch& watch, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watch;
  return ::epoll_ctl(epoll_.native_handle(), operation, watch.fd_, &event) == 0;
}

void Readiness::forget(const Watch& watch) {
  for (epoll_event& event : unserved_) {
    if (event.data.ptr == &watch) {
      event.data.ptr = nullptr;
    }
  }
}

/// Armed only while somebody waits, so that the context can run out of work.
void Readiness::arm() {
  if (armed_ || serving_ || ended_ || waiting_.empty()) {
    return;
  }
  armed_ = true;
  epoll_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                    [this](const boost::system::error_code& error) {
                      armed_ = false;
                      if (!error) {
                        serve();
                      }
                    });
}

void Readiness::disarm_if_idle() {
  if (waiting_.empty() && armed_ && !ended_) {
    epoll_.cancel();
  }
}

void Readiness::serve() {
  serving_ = true;
  // More than one at once: others have probably come meanwhile. A lone one is not worth the look.
  for (int round = 0; round < kRounds && serve_batch() > 1; ++round) {
  }
  serving_ = false;
  arm();
}

std::size_t Readiness::serve_batch() {
  const int count =
      ::epoll_wait(epoll_.native_handle(), batch_.data(), static_cast<int>(batch_.size()), 0);
  ++looks_;
  if (count <= 0) {
    return 0;
  }
  unserved_ = std::span(batch_).first(static_cast<std::size_t>(count));
  sound_alarms();
  while (!unserved_.empty()) {
    const epoll_event event = unserved_.front();
    unserved_ = unserved_.subspan(1);
    if (event.data.ptr != nullptr) {
      static_cast<Watch*>(event.data.ptr)->happened(event.events);
    }
  }
  return static_cast<std::size_t>(count);
}

void Readiness::sound_alarms() {
  for (epoll_event& event : unserved_) {
    auto* const watch = static_cast<Watch*>(event.data.ptr);
    if (watch != nullptr && watch->alarm_ != nullptr) {
      event.data.ptr = nullptr;
      watch->happened(event.events);
    }
  }
}

bool Watch::open(int fd, Trigger trigger) {
  fd_ = fd;
  trigger_ = trigger;
  seen_ = 0;
  hung_up_ = false;
  registered_ = kReading | (trigger == Trigger::edge ? static_cast<std::uint32_t>(EPOLLET) : 0);
  if (readiness_.ended_ || !readiness_.control(EPOLL_CTL_ADD, *this, registered_)) {
    fd_ = -1;
  }
  return is_open();
}

void Watch::close() {
  if (fd_ < 0) {
    return;
  }
  if (trigger_ == Trigger::level) {
    readiness_.control(EPOLL_CTL_DEL, *this, 0);
  }
  readiness_.forget(*this);
  fd_ = -1;
  if (alarm_ != nullptr) {
    end_rest();
    readiness_.disarm_if_idle();
  }
}

void Watch::cancel() {
  if (!waiter_) {
    return;
  }
  unlink();
  boost::asio::post(readiness_.context_, Resumption(std::exchange(waiter_, {})));
  readiness_.disarm_if_idle();
}

bool Watch::rest(Alarm& alarm) {
  if (hung_up_ || (seen_ & told(EPOLLIN)) != 0) {
    return false;
  }
  alarm_ = &alarm;
  rested_at_ = readiness_.looks_;
  readiness_.waiting_.push_back(*this);
  readiness_.arm();
  return true;
}

void Watch::end_rest() {
  if (std::exchange(alarm_, nullptr) != nullptr) {
    unlink();
  }
}

bool Watch::take(std::uint32_t events) {
  if ((seen_ & told(events)) == 0) {
    return false;
  }
  seen_ &= ~told(events);
  return true;
}

bool Watch::wait(std::coroutine_handle<> waiter, std::uint32_t events) {
  if (readiness_.ended_) {
    close();
    return false;
  }
  if ((events & EPOLLOUT) != 0 && (registered_ & EPOLLOUT) == 0) {
    registered_ |= EPOLLOUT;  // and stays: who was slow once will be again
    readiness_.control(EPOLL_CTL_MOD, *this, registered_);
  }
  waiter_ = waiter;
  wanted_ = told(events);
  readiness_.waiting_.push_back(*this);
  readiness_.arm();
  return true;
}

void Watch::happened(std::uint32_t events) {
  hung_up_ = hung_up_ || (events & (kAlways | EPOLLRDHUP)) != 0;
  if (alarm_ != nullptr && (events & told(EPOLLIN)) != 0) {
    unlink();
    std::exchange(alarm_, nullptr)->disturbed();
    return;
  }
  if (waiter_ && (events & wanted_) != 0) {
    seen_ |= events & ~wanted_;
    resume();
    return;
  }
  seen_ |= events;
}

}  // namespace metatap::http
