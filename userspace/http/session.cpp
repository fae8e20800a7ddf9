// SPDX-License-Identifier: Apache-2.0
#include "http/session.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
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
  shard_->opened();
  begin_reading();
}

Session::~Session() {
  end_flight();
  return_scratch();
  watch_.close();
  shard_->closed(std::move(fd_));
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
      if (!s.response_) {
        Asking asking(s);  // named: GCC 12 copies temporary awaiters bitwise
        co_await asking;
      }
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
  state_ = State::need_more;
  if (!nothing_read()) {
    state_ = scratch_->reader.parse();
    if (state_ == State::need_more) {
      not_whole_yet();
    }
  }
}

Session::Step Session::receive() {
  while (state_ == State::need_more) {
    if (drained_) {
      return Step::wait;
    }
    borrow_scratch();
    RequestReader& reader = scratch_->reader;
    const auto space = reader.space();
    if (space.empty()) {
      state_ = State::failed;
      break;
    }
    const ssize_t got = ::recv(socket_, space.data(), space.size(), 0);
    if (got > 0) {
      reader.received(static_cast<std::size_t>(got));
      drained_ = static_cast<std::size_t>(got) < space.size();
      state_ = reader.parse();
      if (state_ == State::need_more) {
        not_whole_yet();
      }
    } else if (got < 0 && errno == EAGAIN) {
      drained_ = true;
    } else if (got == 0 || errno != EINTR) {
      return Step::end;
    }
  }
  return Step::done;
}

void Session::begin_reading() {
  const Limits& limits = shard_->limits;
  phase_ = Phase::reading;
  began_ = Deadlines::now();
  expire_at(began_ + std::min(limits.head_within, limits.request).count());
}

/// Empty lines are no beginning: an idle connection stays one, whatever drips into it.
void Session::not_whole_yet() {
  RequestReader& reader = scratch_->reader;
  if (phase_ == Phase::idle && !reader.empty()) {
    begin_reading();
  }
  if (reader.head_done() && phase_ == Phase::reading) {
    expire_at(began_ + shard_->limits.request.count());
  }
  if (reader.wants_continue()) {
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    ::send(socket_, kContinue.data(), kContinue.size(), MSG_NOSIGNAL);
  }
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
    if (!scratch_ || scratch_->reader.skipped() == 0) {
      return_scratch();
    }
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
  note_read();
  request_ = scratch_->reader.request(handler_->peer());
  phase_ = Phase::handling;
  never_expire();
  if (OverloadShare* const budget = shard_->budget) {
    if (!budget->may_ask()) {
      budget->request_refused();
      response_ = busy_response("too much is under way");
      return true;
    }
    ++budget->counts.requests_in_flight;
    counted_ = true;
  }
  return true;
}

/// What came in one piece took no time.
void Session::note_read() {
  read_for_ = std::chrono::milliseconds(began_ == 0 ? 0 : Deadlines::now() - began_);
  began_ = 0;
}

void Session::end_flight() {
  if (std::exchange(counted_, false)) {
    --shard_->budget->counts.requests_in_flight;
  }
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

void Session::Asking::answered(Response&& response) noexcept {
  session_.response_ = std::move(response);
  if (waiter_) {  // else we are still in await_suspend()
    waiter_.resume();
  }
}

void Session::refuse() {
  expired_ = false;
  note_read();
  if (state_ != State::failed) {
    response_ = plain_response(408);
  } else if (const auto status = scratch_->reader.status(); status == 503) {
    response_ = busy_response(scratch_->reader.reason());
    return;
  } else {
    response_ = plain_response(status, scratch_->reader.reason());
  }
  ++shard_->count.malformed;
}

// ---- Write

void Session::begin_output() {
  borrow_scratch();
  RequestReader& reader = scratch_->reader;
  const bool whole = state_ == State::complete;
  keep_alive_ = whole && reader.keep_alive() && !response_->close && !shard_->draining &&
                shard_->may_keep_alive();
  std::string& out = scratch_->out;
  out.clear();
  write_head(out, *response_, {.http_1_0 = whole && reader.http_1_0(), .keep_alive = keep_alive_});
  const bool bare =
      (whole && reader.head_request()) || response_->status == 204 || response_->status == 304;
  const auto body = bare ? decltype(response_->body.segments()){} : response_->body.segments();
  if (response_->hop_limit != hop_limit_) {
    limit_hops(response_->hop_limit);
  }
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

void Session::limit_hops(std::uint8_t hops) {
  hop_limit_ = hops;
  const int wanted = hops == 0 ? -1 : hops;  // -1: the system's
  // One of the two is of the socket's family.
  ::setsockopt(socket_, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &wanted, sizeof wanted);
  ::setsockopt(socket_, IPPROTO_IP, IP_TTL, &wanted, sizeof wanted);
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
  handler_->responded(whole ? &request_ : nullptr, *response_, read_for_);
  response_.reset();
  end_flight();
  RequestReader& reader = scratch_->reader;
  if (whole) {
    reader.next();
  }
  first_ = false;
  linger_ = !whole || !reader.empty();
  if (keep_alive_ && reader.empty()) {
    phase_ = Phase::idle;
    expire_after(shard_->limits.idle);
  } else if (keep_alive_) {
    begin_reading();
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
    scratch_ = std::make_unique<Scratch>(shard_->limits, shard_->memory);
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
