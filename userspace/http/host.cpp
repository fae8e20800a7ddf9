// SPDX-License-Identifier: Apache-2.0
#include "http/host.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "http/count.hpp"
#include "http/deadlines.hpp"
#include "http/request_reader.hpp"
#include "http/response_writer.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
namespace intrusive = boost::intrusive;

using Descriptor = asio::posix::basic_stream_descriptor<asio::io_context::executor_type>;

constexpr int kAcceptBatch = 32;
constexpr int kPipelineBatch = 16;  // requests answered before others get their turn
constexpr std::size_t kSpareScratch = 64;
constexpr std::size_t kSpareFrames = 64;
constexpr std::size_t kSmallBody = 2048;  // copied behind the head: one plain send()
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::int64_t kComplainAgain = 10'000;  // ms
constexpr std::chrono::milliseconds kLinger{2000};
constexpr std::size_t kLingerBytes = std::size_t{1} << 20U;

/// Memory for coroutine frames, kept per thread.
class Frames {
 public:
  static Frames& local() {
    static thread_local Frames frames;
    return frames;
  }
  ~Frames() {
    for (void* const frame : spare_) {
      ::operator delete(frame);
    }
  }
  void* take(std::size_t size) {
    if (spare_.empty() || size != size_) {
      return ::operator new(size);
    }
    void* const frame = spare_.back();
    spare_.pop_back();
    return frame;
  }
  void give(void* frame, std::size_t size) noexcept {
    if (spare_.empty()) {
      size_ = size;
      spare_.reserve(kSpareFrames);
    }
    if (size == size_ && spare_.size() < kSpareFrames) {
      spare_.push_back(frame);
    } else {
      ::operator delete(frame);
    }
  }

 private:
  std::vector<void*> spare_;
  std::size_t size_ = 0;
};

/// What a connection needs while it has something to do; idle ones have none.
struct Scratch {
  explicit Scratch(const Limits& limits) : reader(limits) {}
  RequestReader reader;
  std::string out;
};

/// A coroutine that owns itself: it runs at once and its frame goes when it is done.
struct Detached {
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }

    // There is one kind of frame, about a kilobyte, made and dropped with each connection.
    static void* operator new(std::size_t size) { return Frames::local().take(size); }
    static void operator delete(void* frame, std::size_t size) noexcept {
      Frames::local().give(frame, size);
    }
  };
};

/// Resumes a coroutine once; destroys it if nobody ever will (its io_context is gone).
class Resumption {
 public:
  explicit Resumption(std::coroutine_handle<> coroutine) : coroutine_(coroutine) {}
  Resumption(Resumption&& other) noexcept : coroutine_(std::exchange(other.coroutine_, {})) {}
  Resumption& operator=(Resumption&&) = delete;
  ~Resumption() {
    if (coroutine_) {
      coroutine_.destroy();
    }
  }
  void operator()() { std::exchange(coroutine_, {}).resume(); }
  void release() { coroutine_ = {}; }

 private:
  std::coroutine_handle<> coroutine_;
};

struct BySession;
using SessionHook = intrusive::list_base_hook<intrusive::tag<BySession>,
                                              intrusive::link_mode<intrusive::auto_unlink>>;

void reset_on_close(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

}  // namespace

/// One connection, one coroutine. Lives in that coroutine's frame.
class Session final : public SessionHook, Deadlines::Entry {
 public:
  Session(std::shared_ptr<Host::Shard> shard, const void* listener, UniqueFd fd,
          std::unique_ptr<Visitor> visitor);
  ~Session() override;
  static Detached run(std::shared_ptr<Host::Shard> shard, const void* listener, UniqueFd fd,
                      std::unique_ptr<Visitor> visitor);

  [[nodiscard]] const void* listener() const { return listener_; }
  /// Nothing of a request is here: may be closed without a word.
  [[nodiscard]] bool idle() const {
    return phase_ == Phase::idle || (phase_ == Phase::reading && nothing_read());
  }
  /// Closes the descriptor now; the coroutine ends when it notices.
  void abort();

 private:
  enum class Phase : std::uint8_t { idle, reading, handling, writing, lingering };

  /// Suspends until the socket is ready, cancelled by a deadline, or closed.
  struct Ready {
    Session& session;
    asio::posix::descriptor_base::wait_type what;
    [[nodiscard]] bool await_ready() const noexcept { return session.closed_; }
    void await_suspend(std::coroutine_handle<> coroutine);
    /// Whether to go on.
    [[nodiscard]] bool await_resume() const noexcept {
      return !session.closed_ && !session.expired_;
    }
  };
  /// Lets the other connections of this worker have their turn.
  struct Yield {
    Session& session;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> coroutine);
    void await_resume() const noexcept {}
  };
  /// Runs a handler's coroutine and suspends unless it was done at once.
  struct Handled {
    Handled(Session& its_session, const Request& its_request)
        : session(its_session), request(its_request) {}
    Handled(const Handled&) = delete;
    Handled& operator=(const Handled&) = delete;

    Session& session;
    const Request& request;
    enum class Step : std::uint8_t { starting, suspended, done } step = Step::starting;
    Response response;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> coroutine);
    Response await_resume() noexcept { return std::move(response); }
  };

  Ready readable() { return {*this, asio::posix::descriptor_base::wait_read}; }
  Ready writable() { return {*this, asio::posix::descriptor_base::wait_write}; }
  std::optional<Response> answer(const Request& request);
  void borrow_scratch();
  void return_scratch();
  [[nodiscard]] bool nothing_read() const { return !scratch_ || scratch_->reader.empty(); }
  void expired() override;

  std::shared_ptr<Host::Shard> shard_;
  const void* listener_;
  UniqueFd fd_;                           // until the first wait
  std::optional<Descriptor> descriptor_;  // from then on
  int socket_;
  std::unique_ptr<Visitor> visitor_;
  std::unique_ptr<Scratch> scratch_;
  Phase phase_ = Phase::reading;
  bool closed_ = false, expired_ = false;
};

struct Host::Listener : std::enable_shared_from_this<Listener> {
  Listener(asio::io_context& context, UniqueFd fd, std::string its_name,
           std::shared_ptr<Reception> its_reception)
      : name(std::move(its_name)),
        reception(std::move(its_reception)),
        descriptor(context, fd.release()),
        pause(context) {}

  std::string name;
  std::shared_ptr<Reception> reception;
  Descriptor descriptor;
  asio::steady_timer pause;
};

struct Host::Shard : std::enable_shared_from_this<Shard> {
  Shard(asio::io_context& its_context, const Limits& its_limits)
      : context(its_context), limits(its_limits), deadlines(Deadlines::of(its_context)) {}

  void open(UniqueFd fd, std::string name, std::shared_ptr<Reception> reception);
  bool close(std::string_view name);
  void close_all();
  void accept_later(const std::shared_ptr<Listener>& listener);
  void accept_now(const std::shared_ptr<Listener>& listener);

  asio::io_context& context;
  const Limits limits;
  Deadlines& deadlines;
  std::vector<std::shared_ptr<Listener>> listeners;
  intrusive::list<Session, intrusive::base_hook<SessionHook>, intrusive::constant_time_size<false>>
      sessions;
  std::vector<std::unique_ptr<Scratch>> spare;
  bool draining = false;
  std::int64_t complain_at = 0;

  struct alignas(64) {
    Count accepted, refused, open, requests, malformed, expired, accept_failures;
  } count;
};

// ---- Session

Session::Session(std::shared_ptr<Host::Shard> shard, const void* listener, UniqueFd fd,
                 std::unique_ptr<Visitor> visitor)
    : shard_(std::move(shard)),
      listener_(listener),
      fd_(std::move(fd)),
      socket_(fd_.get()),
      visitor_(std::move(visitor)) {
  shard_->sessions.push_back(*this);
  shard_->deadlines.add(*this);
  ++shard_->count.open;
}

Session::~Session() {
  --shard_->count.open;
  return_scratch();
}

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

void Session::Ready::await_suspend(std::coroutine_handle<> coroutine) {
  if (!session.descriptor_) {
    session.descriptor_.emplace(session.shard_->context, session.fd_.release());
  }
  session.descriptor_->async_wait(
      what,
      [resume = Resumption(coroutine)](const boost::system::error_code&) mutable { resume(); });
}

void Session::Yield::await_suspend(std::coroutine_handle<> coroutine) {
  asio::post(session.shard_->context, Resumption(coroutine));
}

bool Session::Handled::await_suspend(std::coroutine_handle<> coroutine) {
  asio::co_spawn(session.shard_->context, session.visitor_->handle(request),
                 [this, resume = Resumption(coroutine)](const std::exception_ptr& error,
                                                        Response result) mutable {
                   response = error ? plain_response(500) : std::move(result);
                   if (step == Step::starting) {
                     resume.release();
                     step = Step::done;
                   } else {
                     resume();
                   }
                 });
  if (step == Step::done) {
    return false;
  }
  step = Step::suspended;
  return true;
}

std::optional<Response> Session::answer(const Request& request) {
  try {
    return visitor_->answer(request);
  } catch (const std::exception& error) {
    log::error("a handler threw: {}", error.what());
    return plain_response(500);
  }
}

void Session::expired() {
  expired_ = true;
  ++shard_->count.expired;
  if (descriptor_) {
    descriptor_->cancel();
  }
}

void Session::abort() {
  closed_ = true;
  fd_.reset();
  if (descriptor_) {
    boost::system::error_code ignored;
    descriptor_->close(ignored);
  }
  socket_ = -1;
}

Detached Session::run(std::shared_ptr<Host::Shard> shard, const void* listener, UniqueFd fd,
                      std::unique_ptr<Visitor> visitor) {
  Session s(std::move(shard), listener, std::move(fd), std::move(visitor));
  const Limits& limits = s.shard_->limits;
  s.expire_after(limits.request);
  bool first = true;  // request of this connection
  bool wait = false;  // nothing can be there yet: do not try before waiting
  int batch = 0;      // requests answered since we last waited

  for (bool keep_alive = true; keep_alive; first = false) {
    // 1. Read one whole request; bytes that came with the last one go first.
    bool linger = false;
    auto state = s.nothing_read() ? RequestReader::State::need_more : s.scratch_->reader.parse();
    while (state == RequestReader::State::need_more) {
      if (wait) {
        if (s.nothing_read()) {
          if (!first) {
            s.phase_ = Phase::idle;
            if (s.shard_->draining) {
              co_return;
            }
          }
          s.return_scratch();
        }
        batch = 0;
        if (!co_await s.readable()) {
          if (s.closed_ || (!first && s.nothing_read())) {
            co_return;
          }
          break;  // 408
        }
      }
      s.borrow_scratch();
      RequestReader& reader = s.scratch_->reader;
      const auto space = reader.space();
      const ssize_t got = ::recv(s.socket_, space.data(), space.size(), 0);
      if (got > 0) {
        if (s.phase_ == Phase::idle) {
          s.phase_ = Phase::reading;
          s.expire_after(limits.request);
        }
        reader.received(static_cast<std::size_t>(got));
        wait = static_cast<std::size_t>(got) < space.size();
        state = reader.parse();
        if (state == RequestReader::State::need_more && reader.wants_continue()) {
          constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
          ::send(s.socket_, kContinue.data(), kContinue.size(), MSG_NOSIGNAL);
        }
      } else if (got < 0 && errno == EAGAIN) {
        wait = true;
      } else if (got == 0 || errno != EINTR) {
        co_return;
      }
    }

    // 2. Answer it.
    s.borrow_scratch();
    RequestReader& reader = s.scratch_->reader;
    std::string& out = s.scratch_->out;
    std::optional<Response> response;
    Request request;
    bool head = false;
    if (state == RequestReader::State::complete) {
      if (!s.visitor_->welcome()) {
        reset_on_close(s.socket_);
        co_return;
      }
      ++s.shard_->count.requests;
      request = reader.request(s.visitor_->peer());
      head = reader.head_request();
      response = s.answer(request);
      if (!response) {
        s.phase_ = Phase::handling;
        s.never_expire();
        Handled handled(s, request);  // named: GCC 12 copies temporary awaiters bitwise
        response = co_await handled;
        if (s.closed_) {
          co_return;
        }
      }
      keep_alive = reader.keep_alive() && !response->close && !s.shard_->draining;
    } else {
      ++s.shard_->count.malformed;
      s.expired_ = false;
      response = state == RequestReader::State::failed
                     ? plain_response(reader.status(), reader.reason())
                     : plain_response(408);
      keep_alive = false;
      linger = true;
    }

    // 3. Write the response: one gathered write, and the rest as the client takes it.
    out.clear();
    write_head(out, *response,
               {.http_1_0 = state == RequestReader::State::complete && reader.http_1_0(),
                .keep_alive = keep_alive});
    std::array<iovec, 4> parts{};
    std::size_t count = 1;
    const bool bare = head || response->status == 204 || response->status == 304;
    if (!bare) {
      const bool small = response->body.size() <= kSmallBody;
      for (const auto segment : response->body.segments()) {
        if (small) {
          out += segment;
        } else if (!segment.empty()) {
          parts[count++] = {const_cast<char*>(segment.data()), segment.size()};
        }
      }
    }
    parts[0] = {out.data(), out.size()};
    s.phase_ = Phase::writing;
    // The last response waits for the FIN that follows at once: one segment instead of two.
    const int flags = MSG_NOSIGNAL | (keep_alive ? 0 : MSG_MORE);
    for (std::size_t next = 0; next < count;) {
      msghdr message{};
      message.msg_iov = &parts[next];
      message.msg_iovlen = count - next;
      const ssize_t sent = count == 1
                               ? ::send(s.socket_, parts[0].iov_base, parts[0].iov_len, flags)
                               : ::sendmsg(s.socket_, &message, flags);
      if (sent < 0) {
        if (errno == EINTR) {
          continue;
        }
        if (errno != EAGAIN) {
          co_return;
        }
        s.expire_after(limits.write);
        if (!co_await s.writable()) {
          if (!s.closed_) {
            reset_on_close(s.socket_);
          }
          co_return;
        }
        continue;
      }
      for (auto left = static_cast<std::size_t>(sent); next < count;) {
        const std::size_t step = std::min(left, parts[next].iov_len);
        parts[next].iov_base = static_cast<char*>(parts[next].iov_base) + step;
        parts[next].iov_len -= step;
        left -= step;
        if (parts[next].iov_len != 0) {
          break;
        }
        ++next;
      }
    }
    s.visitor_->answered(state == RequestReader::State::complete ? &request : nullptr, *response);

    // 4. The next one.
    if (state == RequestReader::State::complete) {
      reader.next();
      linger = !reader.empty();
    }
    if (keep_alive) {
      wait = true;
      s.phase_ = reader.empty() ? Phase::idle : Phase::reading;
      s.expire_after(reader.empty() ? limits.idle : limits.request);
      if (++batch == kPipelineBatch) {
        batch = 0;
        co_await Yield{s};
        if (s.closed_) {
          co_return;
        }
      }
      continue;
    }
    if (linger) {
      // Closing over unread bytes would reset the connection, and the reset can overtake the
      // answer; so the client gets a moment to finish.
      s.phase_ = Phase::lingering;
      ::shutdown(s.socket_, SHUT_WR);
      s.expire_after(kLinger);
      std::array<char, 4096> waste;
      for (std::size_t total = 0; total < kLingerBytes;) {
        const ssize_t got = ::recv(s.socket_, waste.data(), waste.size(), 0);
        if (got > 0) {
          total += static_cast<std::size_t>(got);
        } else if (got == 0 || errno != EAGAIN || !co_await s.readable()) {
          break;
        }
      }
    }
  }
}

// ---- Shard

void Host::Shard::open(UniqueFd fd, std::string name, std::shared_ptr<Reception> reception) {
  listeners.push_back(
      std::make_shared<Listener>(context, std::move(fd), std::move(name), std::move(reception)));
  accept_later(listeners.back());
}

bool Host::Shard::close(std::string_view name) {
  bool found = false;
  for (const auto& listener : listeners) {
    if (listener->name != name) {
      continue;
    }
    found = true;
    boost::system::error_code ignored;
    listener->descriptor.close(ignored);
    listener->pause.cancel();
    for (Session& session : sessions) {
      if (session.listener() == listener.get()) {
        session.abort();
      }
    }
  }
  std::erase_if(listeners, [&](const auto& listener) { return listener->name == name; });
  return found;
}

void Host::Shard::close_all() {
  draining = true;
  for (const auto& listener : listeners) {
    boost::system::error_code ignored;
    listener->descriptor.close(ignored);
    listener->pause.cancel();
  }
  listeners.clear();
  for (Session& session : sessions) {
    if (session.idle()) {
      session.abort();
    }
  }
}

void Host::Shard::accept_later(const std::shared_ptr<Listener>& listener) {
  if (!listener->descriptor.is_open()) {
    return;
  }
  listener->descriptor.async_wait(
      asio::posix::descriptor_base::wait_read,
      [self = shared_from_this(), listener](const boost::system::error_code& error) {
        if (!error) {
          self->accept_now(listener);
        }
      });
}

void Host::Shard::accept_now(const std::shared_ptr<Listener>& listener) {
  for (int i = 0; i < kAcceptBatch && listener->descriptor.is_open(); ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    UniqueFd fd(::accept4(listener->descriptor.native_handle(), reinterpret_cast<sockaddr*>(&peer),
                          &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      if (errno == EAGAIN) {
        break;
      }
      // Out of descriptors or memory: the waiting connection would wake us again at once.
      ++count.accept_failures;
      if (const auto now = Deadlines::now(); now >= complain_at) {
        complain_at = now + kComplainAgain;
        log::warn("{}: cannot accept: {}", listener->name, std::strerror(errno));
      }
      listener->pause.expires_after(kAcceptPause);
      listener->pause.async_wait(
          [self = shared_from_this(), listener](const boost::system::error_code&) {
            self->accept_later(listener);
          });
      return;
    }
    ++count.accepted;
    auto visitor = listener->reception->admit(fd.get(), peer);
    if (!visitor) {
      ++count.refused;
      reset_on_close(fd.get());
      continue;
    }
    Session::run(shared_from_this(), listener.get(), std::move(fd), std::move(visitor));
  }
  accept_later(listener);
}

// ---- Host

Host::Counters& Host::Counters::operator+=(const Counters& other) {
  accepted += other.accepted;
  refused += other.refused;
  open += other.open;
  requests += other.requests;
  malformed += other.malformed;
  expired += other.expired;
  accept_failures += other.accept_failures;
  return *this;
}

Host::Host(Workers& workers, Limits limits) : workers_(workers), limits_(limits) {
  for (unsigned i = 0; i < workers_.size(); ++i) {
    shards_.push_back(std::make_shared<Shard>(workers_.at(i), limits_));
  }
}

Host::~Host() {
  stop({});
}

void Host::open(unsigned worker, UniqueFd listener, std::string name,
                std::shared_ptr<Reception> reception) {
  const unsigned index = worker % workers_.size();
  workers_.run_on(index, [&] {
    shards_[index]->open(std::move(listener), std::move(name), std::move(reception));
  });
}

bool Host::close(std::string_view name) {
  bool found = false;
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(i, [&] { found = shards_[i]->close(name) || found; });
  }
  return found;
}

void Host::stop(std::chrono::milliseconds drain) {
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(i, [&] { shards_[i]->close_all(); });
  }
  const auto open = [this] { return counters().open; };
  const auto end = std::chrono::steady_clock::now() + drain;
  while (open() != 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(i, [&] {
      for (Session& session : shards_[i]->sessions) {
        session.abort();
      }
    });
  }
}

Host::Counters Host::counters() const {
  Counters sum;
  for (const auto& shard : shards_) {
    const auto& count = shard->count;
    sum += {.accepted = count.accepted.get(),
            .refused = count.refused.get(),
            .open = count.open.get(),
            .requests = count.requests.get(),
            .malformed = count.malformed.get(),
            .expired = count.expired.get(),
            .accept_failures = count.accept_failures.get()};
  }
  return sum;
}

}  // namespace metatap::http
