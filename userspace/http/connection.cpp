// SPDX-License-Identifier: Apache-2.0
#include "http/connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <exception>

#include "http/coroutine.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using State = ResponseReader::State;

/// Tells the observer exactly once: that the exchange failed, if nobody says otherwise.
class Telling {
 public:
  explicit Telling(Connection::Observer& observer) : observer_(&observer) {}
  Telling(Telling&& other) noexcept : observer_(std::exchange(other.observer_, nullptr)) {}
  Telling& operator=(Telling&&) = delete;
  ~Telling() {
    if (observer_ != nullptr) {
      tell({});
    }
  }
  void tell(Outcome outcome) noexcept { std::exchange(observer_, nullptr)->finished(outcome); }

 private:
  Connection::Observer* observer_;
};

}  // namespace

bool Connection::rest(std::chrono::milliseconds longest) {
  resting_ = reader.keep_alive() && watch(*this);
  if (resting_) {
    expire_after(longest);
  }
  return resting_;
}

bool Connection::silent(int fd) {
  pollfd asked{fd, POLLIN | POLLRDHUP, 0};
  return ::poll(&asked, 1, 0) == 0;
}

void Connection::expired() {
  timed_out_ = true;
  if (std::exchange(resting_, false)) {
    close();
  } else {
    cancel();
  }
}

void Connection::disturbed() {
  resting_ = false;
  close();
}

// ---- PlainConnection

PlainConnection::PlainConnection(asio::io_context& context, UniqueFd fd, std::size_t body_limit)
    : Connection(context, body_limit), fd_(std::move(fd)), watch_(Readiness::of(context)) {
  // What cannot be watched cannot be waited for: the exchange fails.
  static_cast<void>(watch_.open(fd_.get()));
}

void PlainConnection::close() {
  watch_.close();
  fd_.reset();
}

bool PlainConnection::watch(Watch::Alarm& alarm) {
  return (drained_ || silent(fd_.get())) && watch_.rest(alarm);
}

bool PlainConnection::unwatch() {
  watch_.end_rest();
  return known_silent() || silent(fd_.get());
}

Detached PlainConnection::run(std::string_view request, bool reused, Observer& observer) {
  Telling telling(observer);
  Outcome outcome;
  while (!request.empty() && watch_.is_open()) {
    const ssize_t sent = ::send(fd_.get(), request.data(), request.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      request.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      co_await watch_.writable();
      if (timed_out()) {
        break;
      }
    } else if (errno != EINTR) {
      break;
    }
  }
  outcome.sent = request.empty();
  if (outcome.sent || !reused) {
    outcome.state = State::need_more;
  }
  while (outcome.state == State::need_more && watch_.is_open()) {
    co_await watch_.readable();
    outcome.state = timed_out() ? State::failed : receive();
  }
  telling.tell(outcome);  // may end this connection
}

State PlainConnection::receive() {
  // An edge tells of all that is there: read until there is no more, or the response is whole.
  for (auto state = State::need_more; watch_.is_open();) {
    const auto space = reader.space();
    const ssize_t got = ::recv(fd_.get(), space.data(), space.size(), 0);
    drained_ = got < static_cast<ssize_t>(space.size());
    if (got > 0) {
      state = reader.received(static_cast<std::size_t>(got));
    } else if (got == 0) {
      return reader.finish();
    } else if (errno == EAGAIN) {
      return State::need_more;
    } else if (errno != EINTR) {
      return State::failed;
    }
    if (state != State::need_more) {
      return state;
    }
  }
  return State::failed;
}

// ---- TlsConnection

TlsConnection::TlsConnection(asio::io_context& context, Socket socket, asio::ssl::context& tls,
                             std::size_t body_limit)
    : Connection(context, body_limit),
      context_(context),
      stream_(std::move(socket), tls),
      watch_(Readiness::of(context)) {}

asio::awaitable<bool> TlsConnection::handshake(const std::string& host, bool verify) {
  if (verify) {
    stream_.set_verify_callback(asio::ssl::host_name_verification(host));
  }
  SSL_set_tlsext_host_name(stream_.native_handle(), host.c_str());
  const auto [error] = co_await stream_.async_handshake(asio::ssl::stream_base::client, kAsTuple);
  co_return !error;
}

void TlsConnection::exchange(std::string_view request, bool reused, Observer& observer) {
  Telling telling(observer);
  try {
    asio::co_spawn(
        context_, talk(request, reused),
        [telling = std::move(telling)](const std::exception_ptr& error, Outcome outcome) mutable {
          telling.tell(error ? Outcome{} : outcome);
        });
  } catch (const std::bad_alloc&) {  // told by then
  }
}

asio::awaitable<Outcome> TlsConnection::talk(std::string_view request, bool reused) {
  Outcome outcome;
  while (!request.empty()) {
    const auto [error, sent] = co_await stream_.async_write_some(
        asio::const_buffer(request.data(), request.size()), kAsTuple);
    if (error) {
      break;
    }
    request.remove_prefix(sent);
  }
  outcome.sent = request.empty();
  if (outcome.sent || !reused) {
    outcome.state = State::need_more;
  }
  while (outcome.state == State::need_more) {
    const auto space = reader.space();
    const auto [error, bytes] =
        co_await stream_.async_read_some(asio::buffer(space.data(), space.size()), kAsTuple);
    if (!error) {
      outcome.state = reader.received(bytes);
    } else if (!timed_out() &&
               (error == asio::error::eof || error == asio::ssl::error::stream_truncated)) {
      // A missing close_notify ends a body that has no length, as with plain TCP.
      outcome.state = reader.finish();
    } else {
      outcome.state = State::failed;
    }
  }
  co_return outcome;
}

void TlsConnection::cancel() {
  error_code ignored;
  stream_.next_layer().cancel(ignored);
}

void TlsConnection::close() {
  watch_.close();
  error_code ignored;
  stream_.next_layer().close(ignored);
}

bool TlsConnection::unread() {
  SSL* const ssl = stream_.native_handle();
  return SSL_has_pending(ssl) == 1 || BIO_ctrl_pending(SSL_get_rbio(ssl)) != 0;
}

bool TlsConnection::watch(Watch::Alarm& alarm) {
  return !unread() && watch_.open(stream_.next_layer().native_handle(), Watch::Trigger::level) &&
         watch_.rest(alarm);
}

bool TlsConnection::unwatch() {
  watch_.close();
  return known_silent() || silent(stream_.next_layer().native_handle());
}

}  // namespace metatap::http
