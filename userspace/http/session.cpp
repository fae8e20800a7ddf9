// SPDX-License-Identifier: Apache-2.0
#include "http/session.hpp"

#include <sys/socket.h>

#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include "http/response_writer.hpp"
#include "http/shard.hpp"

namespace metatap::http {
namespace {

constexpr int kPipelineBatch = 16;  // requests answered before others get their turn
constexpr std::size_t kSpareScratch = 64;
constexpr std::size_t kSmallBody = 2048;  // copied behind the head: one plain send()
constexpr std::chrono::milliseconds kLinger{2000};
constexpr std::size_t kLingerBytes = std::size_t{1} << 20U;

}  // namespace

void reset_on_close(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

Session::Session(std::shared_ptr<Shard> shard, const Listener* listener, UniqueFd fd,
                 std::unique_ptr<ClientHandler> handler)
    : shard_(std::move(shard)),
      listener_(listener),
      fd_(std::move(fd)),
      watch_(shard_->readiness),
      socket_(fd_.get()),
      handler_(std::move(handler)) {
  shard_->sessions.push_back(*this);
  shard_->deadlines.add(*this);
  ++shard_->count.open;
  expire_after(shard_->limits.request);
}

Session::~Session() {
  --shard_->count.open;
  shard_->load.fetch_sub(1, std::memory_order_relaxed);
  return_scratch();
}

Detached Session::run(std::shared_ptr<Shard> shard, const Listener* listener, UniqueFd fd,
                      std::unique_ptr<ClientHandler> handler) {
  Session s(std::move(shard), listener, std::move(fd), std::move(handler));
  while (s.keep_alive_) {
    s.begin_request();
    auto step = s.receive();
    for (; step == Step::wait; step = s.receive()) {
      if (!s.may_wait()) {
        co_return;
      }
      if (!co_await s.readable()) {
        if (!s.deserves_answer()) {
          co_return;
        }
        break;
      }
      s.drained_ = false;
    }
    if (step == Step::end) {
      co_return;
    }

    if (s.state_ == State::complete) {
      if (!s.begin_answer()) {
        co_return;
      }
      Asking asking(s);  // named: GCC 12 copies temporary awaiters bitwise
      co_await asking;
      if (s.closed_) {
        co_return;
      }
    } else {
      s.refuse();
    }

    s.begin_output();
    for (step = s.send(); step == Step::wait; step = s.send()) {
      s.expire_after(s.shard_->limits.write);
      if (!co_await s.writable()) {
        if (!s.closed_) {
          reset_on_close(s.socket_);
        }
        co_return;
      }
    }
    if (step == Step::end) {
      co_return;
    }
    s.finish_response();

    if (s.keep_alive_ && ++s.batch_ == kPipelineBatch) {
      s.batch_ = 0;
      co_await Yield{s};
      if (s.closed_) {
        co_return;
      }
    }
  }
  // At the end of the process, what the kernel still has to send would be lost with the way there:
  // the client closes when it has all of it.
  if (s.linger_ || s.shard_->draining) {
    s.begin_linger();
    while (s.discard() == Step::wait && co_await s.readable()) {
    }
  }
}

// ---- Read

/// Bytes that came with the last request go first.
void Session::begin_request() {
  state_ = nothing_read() ? State::need_more : scratch_->reader.parse();
}

Session::Step Session::receive() {
  while (state_ == State::need_more) {
    if (drained_) {
      return Step::wait;
    }
    borrow_scratch();
    RequestReader& reader = scratch_->reader;
    const auto space = reader.space();
    const ssize_t got = ::recv(socket_, space.data(), space.size(), 0);
    if (got > 0) {
      if (phase_ == Phase::idle) {
        phase_ = Phase::reading;
        expire_after(shard_->limits.request);
      }
      reader.received(static_cast<std::size_t>(got));
      drained_ = static_cast<std::size_t>(got) < space.size();
      state_ = reader.parse();
      if (state_ == State::need_more && reader.wants_continue()) {
        constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
        ::send(socket_, kContinue.data(), kContinue.size(), MSG_NOSIGNAL);
      }
    } else if (got < 0 && errno == EAGAIN) {
      drained_ = true;
    } else if (got == 0 || errno != EINTR) {
      return Step::end;
    }
  }
  return Step::done;
}

bool Session::may_wait() {
  batch_ = 0;
  if (nothing_read()) {
    if (!first_) {
      phase_ = Phase::idle;
      if (shard_->draining) {
        return false;
      }
    }
    return_scratch();
  }
  return true;
}

// ---- Answer

bool Session::begin_answer() {
  if (!handler_->permitted()) {
    reset_on_close(socket_);
    return false;
  }
  ++shard_->count.requests;
  request_ = scratch_->reader.request(handler_->peer());
  phase_ = Phase::handling;
  never_expire();
  return true;
}

bool Session::Asking::await_suspend(std::coroutine_handle<> coroutine) noexcept {
  session_.response_.reset();
  if (auto response = session_.handler_->ask(session_.request_, session_.shard_->context, *this)) {
    session_.response_ = std::move(response);
  }
  if (!session_.response_) {
    waiter_ = coroutine;
  }
  return !session_.response_;
}

void Session::Asking::answered(Response response) noexcept {
  session_.response_ = std::move(response);
  if (waiter_) {  // else we are still in await_suspend()
    waiter_.resume();
  }
}

void Session::refuse() {
  ++shard_->count.malformed;
  expired_ = false;
  response_ = state_ == State::failed
                  ? plain_response(scratch_->reader.status(), scratch_->reader.reason())
                  : plain_response(408);
}

// ---- Write

void Session::begin_output() {
  borrow_scratch();
  RequestReader& reader = scratch_->reader;
  const bool whole = state_ == State::complete;
  keep_alive_ = whole && reader.keep_alive() && !response_->close && !shard_->draining;
  std::string& out = scratch_->out;
  out.clear();
  write_head(out, *response_, {.http_1_0 = whole && reader.http_1_0(), .keep_alive = keep_alive_});
  const bool bare =
      (whole && reader.head_request()) || response_->status == 204 || response_->status == 304;
  const auto body = bare ? decltype(response_->body.segments()){} : response_->body.segments();
  const bool small = response_->body.size() <= kSmallBody;
  if (small) {
    for (const auto segment : body) {
      out += segment;
    }
  }
  output_.clear();
  output_.add(out);
  if (!small) {
    for (const auto segment : body) {
      output_.add(segment);
    }
  }
  phase_ = Phase::writing;
}

/// One gathered write, and the rest as the client takes it.
Session::Step Session::send() {
  // The last response waits for the FIN that follows at once: one segment instead of two.
  const int flags = MSG_NOSIGNAL | (keep_alive_ ? 0 : MSG_MORE);
  while (!output_.done()) {
    const auto rest = output_.rest();
    msghdr message{};
    message.msg_iov = rest.data();
    message.msg_iovlen = rest.size();
    const ssize_t sent = rest.size() == 1
                             ? ::send(socket_, rest[0].iov_base, rest[0].iov_len, flags)
                             : ::sendmsg(socket_, &message, flags);
    if (sent >= 0) {
      output_.advance(static_cast<std::size_t>(sent));
    } else if (errno != EINTR) {
      return errno == EAGAIN ? Step::wait : Step::end;
    }
  }
  return Step::done;
}

void Session::finish_response() {
  const bool whole = state_ == State::complete;
  handler_->responded(whole ? &request_ : nullptr, *response_);
  response_.reset();
  RequestReader& reader = scratch_->reader;
  if (whole) {
    reader.next();
  }
  first_ = false;
  linger_ = !whole || !reader.empty();
  if (keep_alive_) {
    phase_ = reader.empty() ? Phase::idle : Phase::reading;
    expire_after(reader.empty() ? shard_->limits.idle : shard_->limits.request);
  }
}

// ---- Linger

/// Closing over unread bytes would reset the connection, and the reset can overtake the answer; so
/// the client gets a moment to finish.
void Session::begin_linger() {
  phase_ = Phase::lingering;
  ::shutdown(socket_, SHUT_WR);
  expire_after(shard_->draining ? shard_->limits.write : kLinger);
}

Session::Step Session::discard() {
  std::array<char, 4096> waste;
  while (discarded_ < kLingerBytes) {
    const ssize_t got = ::recv(socket_, waste.data(), waste.size(), 0);
    if (got <= 0) {
      return got < 0 && errno == EAGAIN ? Step::wait : Step::end;
    }
    discarded_ += static_cast<std::size_t>(got);
  }
  return Step::end;
}

// ---- All

void Session::borrow_scratch() {
  if (scratch_) {
    return;
  }
  if (shard_->spare.empty()) {
    scratch_ = std::make_unique<Scratch>(shard_->limits);
  } else {
    scratch_ = std::move(shard_->spare.back());
    shard_->spare.pop_back();
  }
}

void Session::return_scratch() {
  if (scratch_ && shard_->spare.size() < kSpareScratch) {
    scratch_->reader.clear();
    shard_->spare.push_back(std::move(scratch_));
  }
  scratch_.reset();
}

void Session::Yield::await_suspend(std::coroutine_handle<> coroutine) {
  boost::asio::post(session.shard_->context, Resumption(coroutine));
}

void Session::expired() {
  expired_ = true;
  ++shard_->count.expired;
  watch_.cancel();
}

void Session::abort() {
  closed_ = true;
  watch_.cancel();
  watch_.close();
  fd_.reset();
  socket_ = -1;
}

}  // namespace metatap::http
