// SPDX-License-Identifier: Apache-2.0
#include "http/host.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>
#include <coroutine>
#include <cstring>
#include <iterator>
#include <span>
#include <thread>
#include <utility>

#include "base/log.hpp"
#include "http/count.hpp"
#include "http/deadlines.hpp"
#include "http/detached.hpp"
#include "http/readiness.hpp"
#include "http/request_reader.hpp"
#include "http/response_writer.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
namespace intrusive = boost::intrusive;

constexpr int kAcceptBatch = 32;
constexpr unsigned kLead = 2;       // connections more than another worker has
constexpr int kPipelineBatch = 16;  // requests answered before others get their turn
constexpr std::size_t kSpareScratch = 64;
constexpr std::size_t kSmallBody = 2048;  // copied behind the head: one plain send()
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr std::int64_t kComplainAgain = 10'000;  // ms
constexpr std::chrono::milliseconds kLinger{2000};
constexpr std::size_t kLingerBytes = std::size_t{1} << 20U;

/// What a connection needs while it has something to do; idle ones have none.
struct Scratch {
  explicit Scratch(const Limits& limits) : reader(limits) {}
  RequestReader reader;
  std::string out;
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
  struct Ready : Watch::Wait {
    Ready(Session& its_session, std::uint32_t events)
        : Wait(its_session.watch_, events), session(its_session) {}
    [[nodiscard]] bool await_ready() const noexcept {
      return !session.watched() || Wait::await_ready();
    }
    /// Whether to go on.
    [[nodiscard]] bool await_resume() const noexcept {
      return session.watch_.is_open() && !session.expired_;
    }
    Session& session;
  };
  /// Lets the other connections of this worker have their turn.
  struct Yield {
    Session& session;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> coroutine);
    void await_resume() const noexcept {}
  };
  /// Asks the visitor; does not suspend if the response is there at once.
  struct Asking final : Continuation {
    Asking(Session& its_session, const Request& its_request)
        : session(its_session), request(its_request) {}
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;

    Session& session;
    const Request& request;
    std::coroutine_handle<> waiter;
    std::optional<Response> response;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> coroutine) noexcept;
    Response await_resume() noexcept { return std::move(*response); }
    void answered(Response result) noexcept override;
  };

  Ready readable() { return {*this, EPOLLIN}; }
  Ready writable() { return {*this, EPOLLOUT}; }
  /// The first wait registers the socket; most connections of one request never wait.
  bool watched() { return !closed_ && (watch_.is_open() || watch_.open(socket_)); }
  void borrow_scratch();
  void return_scratch();
  [[nodiscard]] bool nothing_read() const { return !scratch_ || scratch_->reader.empty(); }
  void expired() override;

  std::shared_ptr<Host::Shard> shard_;
  const void* listener_;
  UniqueFd fd_;
  Watch watch_;
  int socket_;
  std::unique_ptr<Visitor> visitor_;
  std::unique_ptr<Scratch> scratch_;
  Phase phase_ = Phase::reading;
  bool closed_ = false, expired_ = false;
};

struct Host::Listener {
  Listener(asio::io_context& context, UniqueFd its_fd, std::string its_name,
           std::shared_ptr<Reception> its_reception, Share its_share)
      : name(std::move(its_name)),
        reception(std::move(its_reception)),
        share(its_share),
        fd(std::move(its_fd)),
        watch(Readiness::of(context)) {}

  /// The coroutine that accepts ends when it notices. What was accepted may still be on its way to
  /// another worker.
  void stop() {
    watch.cancel();
    watch.close();
    fd.reset();
  }
  /// The same, and what is on its way is not wanted any more.
  void close() {
    closed.store(true, std::memory_order_relaxed);
    stop();
  }

  const std::string name;
  const std::shared_ptr<Reception> reception;
  const Share share;
  UniqueFd fd;
  Watch watch;
  std::atomic<bool> closed{false};  // read by workers that connections are passed to
};

struct Host::Shard : std::enable_shared_from_this<Shard> {
  Shard(asio::io_context& its_context, unsigned its_worker, const Limits& its_limits)
      : context(its_context),
        worker(its_worker),
        limits(its_limits),
        deadlines(Deadlines::of(its_context)),
        readiness(Readiness::of(its_context)) {}

  void open(UniqueFd fd, std::string name, std::shared_ptr<Reception> reception, Share share);
  std::vector<const Listener*> close(std::string_view name);
  void abort_from(std::span<const Listener* const> gone);
  void close_all();
  static Detached accept(std::shared_ptr<Shard> self, std::shared_ptr<Listener> listener);
  bool accept_batch(const std::shared_ptr<Listener>& listener);
  Shard& least_busy();
  void serve(const std::shared_ptr<Listener>& listener, UniqueFd fd, const sockaddr_storage& peer);

  asio::io_context& context;
  const unsigned worker;
  const Limits limits;
  Deadlines& deadlines;
  Readiness& readiness;
  std::vector<std::weak_ptr<Shard>> others;
  std::vector<std::shared_ptr<Listener>> listeners;
  intrusive::list<Session, intrusive::base_hook<SessionHook>, intrusive::constant_time_size<false>>
      sessions;
  std::vector<std::unique_ptr<Scratch>> spare;
  bool draining = false;
  std::int64_t complain_at = 0;
  /// Connections here and on their way; other workers look at it and add to it.
  alignas(64) std::atomic<unsigned> load{0};

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
      watch_(shard_->readiness),
      socket_(fd_.get()),
      visitor_(std::move(visitor)) {
  shard_->sessions.push_back(*this);
  shard_->deadlines.add(*this);
  ++shard_->count.open;
}

Session::~Session() {
  --shard_->count.open;
  shard_->load.fetch_sub(1, std::memory_order_relaxed);
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

void Session::Yield::await_suspend(std::coroutine_handle<> coroutine) {
  asio::post(session.shard_->context, Resumption(coroutine));
}

bool Session::Asking::await_suspend(std::coroutine_handle<> coroutine) noexcept {
  if (auto result = session.visitor_->ask(request, session.shard_->context, *this)) {
    response = std::move(result);
  }
  if (!response) {
    waiter = coroutine;
  }
  return !response;
}

void Session::Asking::answered(Response result) noexcept {
  response = std::move(result);
  if (waiter) {  // else we are still in await_suspend()
    waiter.resume();
  }
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

Detached Session::run(std::shared_ptr<Host::Shard> shard, const void* listener, UniqueFd fd,
                      std::unique_ptr<Visitor> visitor) {
  Session s(std::move(shard), listener, std::move(fd), std::move(visitor));
  const Limits& limits = s.shard_->limits;
  s.expire_after(limits.request);
  bool first = true;  // request of this connection
  bool wait = false;  // all that was there has been read: do not try before waiting
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
      s.phase_ = Phase::handling;
      s.never_expire();
      Asking asking(s, request);  // named: GCC 12 copies temporary awaiters bitwise
      response = co_await asking;
      if (s.closed_) {
        co_return;
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
    s.visitor_->responded(state == RequestReader::State::complete ? &request : nullptr, *response);

    // 4. The next one.
    if (state == RequestReader::State::complete) {
      reader.next();
      linger = !reader.empty();
    }
    if (keep_alive) {
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

void Host::Shard::open(UniqueFd fd, std::string name, std::shared_ptr<Reception> reception,
                       Share share) {
  listeners.push_back(std::make_shared<Listener>(context, std::move(fd), std::move(name),
                                                 std::move(reception), share));
  accept(shared_from_this(), listeners.back());
}

std::vector<const Host::Listener*> Host::Shard::close(std::string_view name) {
  std::vector<const Listener*> closed;
  for (const auto& listener : listeners) {
    if (listener->name == name) {
      listener->close();
      closed.push_back(listener.get());
    }
  }
  std::erase_if(listeners, [&](const auto& listener) { return listener->name == name; });
  return closed;
}

void Host::Shard::abort_from(std::span<const Listener* const> gone) {
  for (Session& session : sessions) {
    if (std::ranges::find(gone, session.listener()) != gone.end()) {
      session.abort();
    }
  }
}

void Host::Shard::close_all() {
  draining = true;
  for (const auto& listener : listeners) {
    listener->stop();
  }
  listeners.clear();
  for (Session& session : sessions) {
    if (session.idle()) {
      session.abort();
    }
  }
}

Detached Host::Shard::accept(std::shared_ptr<Shard> self, std::shared_ptr<Listener> listener) {
  struct Pause {
    asio::steady_timer& timer;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> coroutine) const {
      timer.async_wait(
          [resume = Resumption(coroutine)](const boost::system::error_code&) mutable { resume(); });
    }
    void await_resume() const noexcept {}
  };
  while (listener->fd) {
    if (listener->watch.is_open() ||
        listener->watch.open(listener->fd.get(), Watch::Trigger::level)) {
      co_await listener->watch.readable();
      if (!listener->fd || self->accept_batch(listener)) {
        continue;
      }
    }
    // Out of descriptors or memory: what waits there would wake us again at once.
    listener->watch.close();
    asio::steady_timer timer(self->context, kAcceptPause);
    Pause pause{timer};
    co_await pause;
  }
}

/// False when the system has no room for more connections.
bool Host::Shard::accept_batch(const std::shared_ptr<Listener>& listener) {
  for (int i = 0; i < kAcceptBatch && listener->fd; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    UniqueFd fd(::accept4(listener->fd.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                          SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) {
        continue;
      }
      if (errno == EAGAIN) {
        return true;
      }
      ++count.accept_failures;
      if (const auto now = Deadlines::now(); now >= complain_at) {
        complain_at = now + kComplainAgain;
        log::warn("{}: cannot accept: {}", listener->name, std::strerror(errno));
      }
      return false;
    }
    ++count.accepted;
    Shard& target = listener->share == Share::out ? least_busy() : *this;
    target.load.fetch_add(1, std::memory_order_relaxed);
    if (&target == this) {
      serve(listener, std::move(fd), peer);
      continue;
    }
    asio::post(target.context,
               [target = target.shared_from_this(), listener, peer, fd = std::move(fd)]() mutable {
                 target->serve(listener, std::move(fd), peer);
               });
  }
  return true;
}

/// Passing a connection on costs the other worker's waking, so a small lead is no reason.
Host::Shard& Host::Shard::least_busy() {
  Shard* best = this;
  unsigned least = load.load(std::memory_order_relaxed);
  if (least < kLead) {
    return *this;
  }
  least -= kLead;
  for (const auto& other : others) {
    const auto shard = other.lock();
    if (const unsigned its = shard ? shard->load.load(std::memory_order_relaxed) : least;
        its < least) {
      least = its;
      best = shard.get();
    }
  }
  return *best;
}

/// `load` counts the connection already.
void Host::Shard::serve(const std::shared_ptr<Listener>& listener, UniqueFd fd,
                        const sockaddr_storage& peer) {
  std::unique_ptr<Visitor> visitor;
  if (!listener->closed.load(std::memory_order_relaxed)) {
    visitor = listener->reception->admit(fd.get(), peer, worker);
    if (!visitor) {
      ++count.refused;
    }
  }
  if (!visitor) {
    load.fetch_sub(1, std::memory_order_relaxed);
    reset_on_close(fd.get());
    return;
  }
  Session::run(shared_from_this(), listener.get(), std::move(fd), std::move(visitor));
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
    shards_.push_back(std::make_shared<Shard>(workers_.at(i), i, limits_));
  }
  for (const auto& shard : shards_) {
    std::ranges::copy_if(shards_, std::back_inserter(shard->others),
                         [&](const auto& other) { return other != shard; });
  }
}

Host::~Host() {
  stop({});
}

void Host::open(unsigned worker, UniqueFd listener, std::string name,
                std::shared_ptr<Reception> reception, Share share) {
  const unsigned index = worker % workers_.size();
  workers_.run_on(index, [&] {
    shards_[index]->open(std::move(listener), std::move(name), std::move(reception), share);
  });
}

bool Host::close(std::string_view name) {
  std::vector<const Listener*> closed;
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(
        i, [&] { std::ranges::copy(shards_[i]->close(name), std::back_inserter(closed)); });
  }
  // A connection that was being passed on has arrived by now, or finds its listener closed.
  for (unsigned i = 0; i < shards_.size() && !closed.empty(); ++i) {
    workers_.run_on(i, [&] { shards_[i]->abort_from(closed); });
  }
  return !closed.empty();
}

void Host::stop(std::chrono::milliseconds drain) {
  for (unsigned i = 0; i < shards_.size(); ++i) {
    workers_.run_on(i, [&] { shards_[i]->close_all(); });
  }
  // Those on their way to another worker included: each gets its answer.
  const auto open = [this] {
    unsigned sum = 0;
    for (const auto& shard : shards_) {
      sum += shard->load.load(std::memory_order_relaxed);
    }
    return sum;
  };
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
