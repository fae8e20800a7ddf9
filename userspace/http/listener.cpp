// SPDX-License-Identifier: Apache-2.0
#include "http/listener.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <new>
#include <utility>

#include "http/shard.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kAcceptBatch = 32;
constexpr std::chrono::milliseconds kAcceptPause{100};

struct Pause {
  asio::steady_timer& timer;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> coroutine) const {
    timer.async_wait(
        [resume = Resumption(coroutine)](const boost::system::error_code&) mutable { resume(); });
  }
  void await_resume() const noexcept {}
};

}  // namespace

Listener::Listener(asio::io_context& context, UniqueFd fd, std::string its_name,
                   std::shared_ptr<Acceptor> its_acceptor, Share its_share)
    : name(std::move(its_name)),
      acceptor(std::move(its_acceptor)),
      share(its_share),
      fd_(std::move(fd)),
      watch_(Readiness::of(context)) {}

void Listener::stop() {
  watch_.cancel();
  watch_.close();
  fd_.reset();
}

void Listener::close() {
  closed_.store(true, std::memory_order_relaxed);
  stop();
}

Detached Listener::run(std::shared_ptr<Listener> self, std::shared_ptr<Shard> shard) {
  Watch& watch = self->watch_;
  while (self->fd_) {
    if (watch.is_open() || watch.open(self->fd_.get(), Watch::Trigger::level)) {
      co_await watch.readable();
      if (!self->fd_ || accept_batch(self, *shard)) {
        continue;
      }
    }
    // Out of descriptors, memory or places: what waits there would wake us again at once.
    watch.close();
    asio::steady_timer timer(shard->context, kAcceptPause);
    Pause pause{timer};
    co_await pause;
  }
}

bool Listener::accept_batch(const std::shared_ptr<Listener>& self, Shard& shard) {
  const std::size_t room = shard.room();
  if (room == 0) {
    shard.put_off(self->name);
    return false;
  }
  const auto most = std::min(kAcceptBatch, room);
  for (std::size_t i = 0; i < most && self->fd_; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    UniqueFd fd(::accept4(self->fd_.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                          SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      try {
        shard.accepted(self, std::move(fd), peer);
      } catch (const std::bad_alloc&) {
        return shard.accept_failed(self->name, ENOMEM);
      }
    } else if (errno == EAGAIN) {
      return true;
    } else if (errno == EINVAL) {
      return false;  // whoever else holds it has ended its listening, for the moment or for good
    } else if (errno != EINTR && errno != ECONNABORTED && !shard.accept_failed(self->name, errno)) {
      return false;
    }
  }
  return true;
}

}  // namespace metatap::http
