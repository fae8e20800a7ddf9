// SPDX-License-Identifier: Apache-2.0
#include "http/upstream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/ascii.hpp"
#include "http/count.hpp"
#include "http/deadlines.hpp"
#include "http/detached.hpp"
#include "http/readiness.hpp"
#include "http/response_reader.hpp"
#include "http/response_writer.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
using Executor = asio::io_context::executor_type;
using Descriptor = asio::posix::basic_stream_descriptor<Executor>;
using TcpSocket = asio::basic_stream_socket<asio::ip::tcp, Executor>;
using TlsStream = asio::ssl::stream<TcpSocket>;

constexpr std::size_t kSpareRequest = 16 * 1024;
constexpr std::chrono::milliseconds kBacklogPause{1};
constexpr std::chrono::milliseconds kLongestBacklogPause{16};

/// How an exchange over one connection ended.
struct Outcome {
  ResponseReader::State state = ResponseReader::State::failed;
  bool sent = false;  ///< all of the request
};

/// A connected socket. Tries first and waits second.
///
/// Between two exchanges it rests, and then the peer has nothing to say: whatever comes belongs to
/// nobody, and would be taken for the next answer, another guest's. So a resting connection is
/// watched and closed as soon as it can be read; and as what has arrived may not have been told
/// yet, the kernel is asked once more before the next exchange. (0.15 us and the system call, about
/// 1 % of a proxied request. Only asking epoll would leave out what came since the loop last
/// looked, which under load is a whole batch ago.) What comes after the request has left cannot be
/// told from its answer by any means of HTTP/1.1.
class Connection : public Deadlines::Entry, Watch::Alarm {
 public:
  Connection(asio::io_context& context, std::size_t body_limit) : reader(body_limit) {
    Deadlines::of(context).add(*this);
  }

  /// Writes `request` and reads the response into `reader`; an answer may come, and the connection
  /// close, before all is written. `reused`: then a request that could not be written is not to be
  /// waited for. The deadline, if that was it, shows in timed_out().
  virtual awaitable<Outcome> exchange(std::string_view request, bool reused) = 0;

  /// Whether the deadline passed; a timed-out connection is not used again.
  [[nodiscard]] bool timed_out() const { return timed_out_; }
  void begin(std::int64_t deadline, bool head) {
    expire_at(deadline);
    reader.begin(head);
  }

  /// Begins to rest. False when the peer has said more than was asked, or nothing more will come.
  [[nodiscard]] bool rest(std::chrono::milliseconds longest) {
    resting_ = reader.keep_alive() && watch(*this);
    if (resting_) {
      expire_after(longest);
    }
    return resting_;
  }
  [[nodiscard]] bool resting() const { return resting_; }
  /// For the next exchange, if it still rests and nothing has come meanwhile.
  [[nodiscard]] bool wake() {
    if (!std::exchange(resting_, false)) {
      return false;
    }
    return silent(unwatch());
  }

  ResponseReader reader;

 protected:
  /// Whether the kernel has neither bytes, nor the end, nor an error for us.
  static bool silent(int fd) {
    pollfd asked{fd, POLLIN | POLLRDHUP, 0};
    return ::poll(&asked, 1, 0) == 0;
  }

 private:
  /// Who waits for it, if anybody does, is to be woken.
  virtual void cancel() = 0;
  virtual void close() = 0;
  /// `alarm` is told what can be read from now on; false if something can already.
  [[nodiscard]] virtual bool watch(Watch::Alarm& alarm) = 0;
  /// Returns the socket.
  virtual int unwatch() = 0;
  void expired() final {
    timed_out_ = true;
    if (std::exchange(resting_, false)) {
      close();
    } else {
      cancel();
    }
  }
  void disturbed() final {
    resting_ = false;
    close();
  }

  bool timed_out_ = false, resting_ = false;
};

/// Without TLS: the hot path.
class PlainConnection final : public Connection {
 public:
  /// Who is told of the end of run().
  class Finish {
   public:
    virtual void finished(Outcome outcome) = 0;
    /// The context ends.
    virtual void dropped() = 0;

   protected:
    ~Finish() = default;
  };

  PlainConnection(asio::io_context& context, UniqueFd fd, std::size_t body_limit)
      : Connection(context, body_limit),
        context_(context),
        fd_(std::move(fd)),
        watch_(Readiness::of(context)) {
    // What cannot be watched cannot be waited for: the exchange fails.
    static_cast<void>(watch_.open(fd_.get()));
  }

  Detached run(std::string_view request, bool reused, Finish& finish);
  awaitable<Outcome> exchange(std::string_view request, bool reused) override;

 private:
  void cancel() override { watch_.cancel(); }
  void close() override {
    watch_.close();
    fd_.reset();
  }
  bool watch(Watch::Alarm& alarm) override {
    return (drained_ || silent(fd_.get())) && watch_.rest(alarm);
  }
  int unwatch() override {
    watch_.end_rest();
    return fd_.get();
  }

  asio::io_context& context_;
  UniqueFd fd_;
  Watch watch_;
  bool drained_ = true;  // the last read found the end of what was there
};

Detached PlainConnection::run(std::string_view request, bool reused, Finish& its_finish) {
  struct Guard {
    explicit Guard(Finish& to_tell) : finish(&to_tell) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() {
      if (finish != nullptr) {
        finish->dropped();
      }
    }
    Finish* finish;
  } guard(its_finish);

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
    outcome.state = ResponseReader::State::need_more;
  }
  while (outcome.state == ResponseReader::State::need_more) {
    if (!watch_.is_open()) {
      outcome.state = ResponseReader::State::failed;
      break;
    }
    co_await watch_.readable();
    if (timed_out()) {
      outcome.state = ResponseReader::State::failed;
      break;
    }
    // An edge tells of all that is there: read until there is no more, or the response is whole.
    while (outcome.state == ResponseReader::State::need_more) {
      const auto space = reader.space();
      const ssize_t got = ::recv(fd_.get(), space.data(), space.size(), 0);
      drained_ = got < static_cast<ssize_t>(space.size());
      if (got > 0) {
        outcome.state = reader.received(static_cast<std::size_t>(got));
      } else if (got == 0) {
        outcome.state = reader.finish();
      } else if (errno == EAGAIN) {
        break;
      } else if (errno != EINTR) {
        outcome.state = ResponseReader::State::failed;
      }
    }
  }
  // May end this connection.
  std::exchange(guard.finish, nullptr)->finished(outcome);
}

/// From run() to Asio's coroutines. Owns itself.
template <class Handler>
class Bridge final : public PlainConnection::Finish {
 public:
  Bridge(asio::io_context& context, Handler handler)
      : context_(context), handler_(std::move(handler)) {}
  void finished(Outcome outcome) override {
    asio::post(context_,
               [handler = std::move(handler_), outcome]() mutable { std::move(handler)(outcome); });
    delete this;
  }
  void dropped() override { delete this; }

 private:
  asio::io_context& context_;
  Handler handler_;
};

awaitable<Outcome> PlainConnection::exchange(std::string_view request, bool reused) {
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, void(Outcome)>(
      [this, request, reused](auto handler) {
        run(request, reused, *new Bridge<decltype(handler)>(context_, std::move(handler)));
      },
      asio::use_awaitable);
}

class TlsConnection final : public Connection {
 public:
  TlsConnection(TcpSocket socket, asio::ssl::context& tls, std::size_t body_limit)
      : Connection(static_cast<asio::io_context&>(socket.get_executor().context()), body_limit),
        stream_(std::move(socket), tls),
        watch_(Readiness::of(
            static_cast<asio::io_context&>(stream_.next_layer().get_executor().context()))) {}

  awaitable<bool> handshake(const TcpEndpoint& endpoint, bool verify) {
    if (verify) {
      stream_.set_verify_callback(asio::ssl::host_name_verification(endpoint.host));
    }
    SSL_set_tlsext_host_name(stream_.native_handle(), endpoint.host.c_str());
    const auto [error] = co_await stream_.async_handshake(asio::ssl::stream_base::client, kAwait);
    co_return !error;
  }

  awaitable<Outcome> exchange(std::string_view request, bool reused) override {
    Outcome outcome;
    while (!request.empty()) {
      const auto [error, sent] = co_await stream_.async_write_some(
          asio::const_buffer(request.data(), request.size()), kAwait);
      if (error) {
        break;
      }
      request.remove_prefix(sent);
    }
    outcome.sent = request.empty();
    if (outcome.sent || !reused) {
      outcome.state = ResponseReader::State::need_more;
    }
    while (outcome.state == ResponseReader::State::need_more) {
      const auto space = reader.space();
      const auto [error, bytes] =
          co_await stream_.async_read_some(asio::buffer(space.data(), space.size()), kAwait);
      if (!error) {
        outcome.state = reader.received(bytes);
      } else if (!timed_out() &&
                 (error == asio::error::eof || error == asio::ssl::error::stream_truncated)) {
        // A missing close_notify ends a body that has no length, as with plain TCP.
        outcome.state = reader.finish();
      } else {
        outcome.state = ResponseReader::State::failed;
      }
    }
    co_return outcome;
  }

 private:
  void cancel() override {
    error_code ignored;
    stream_.next_layer().cancel(ignored);
  }
  void close() override {
    watch_.close();
    error_code ignored;
    stream_.next_layer().close(ignored);
  }
  /// What was read from the socket already: decrypted, or on its way through OpenSSL. Asio keeps
  /// nothing else, as all it read fits in there.
  bool unread() {
    SSL* const ssl = stream_.native_handle();
    return SSL_has_pending(ssl) == 1 || BIO_ctrl_pending(SSL_get_rbio(ssl)) != 0;
  }
  bool watch(Watch::Alarm& alarm) override {
    return !unread() && watch_.open(stream_.next_layer().native_handle(), Watch::Trigger::level) &&
           watch_.rest(alarm);
  }
  int unwatch() override {
    watch_.close();
    return stream_.next_layer().native_handle();
  }

  TlsStream stream_;
  Watch watch_;  // of the socket under it, while it rests; goes before it
};

using ConnectionPtr = std::unique_ptr<Connection>;

struct alignas(64) Counts {
  Count requests, connects, reused, retried, unavailable, timeouts, invalid;
};

class Errand;

/// The idle connections of one upstream in one io_context, the latest used last.
struct Pool {
  Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  ConnectionPtr take();
  /// Keeps it if it can be used again and there is room.
  void give(ConnectionPtr connection, const UpstreamOptions& options) {
    std::erase_if(idle, [](const auto& old) { return !old->resting(); });
    if (idle.size() < options.idle_per_worker && connection->rest(options.idle)) {
      idle.push_back(std::move(connection));
    }
  }

  std::vector<ConnectionPtr> idle;
  std::vector<std::unique_ptr<Errand>> spare;  // with memory for requests
  std::shared_ptr<Counts> counts = std::make_shared<Counts>();
};

ConnectionPtr Pool::take() {
  while (!idle.empty()) {
    auto connection = std::move(idle.back());
    idle.pop_back();
    if (connection->wake()) {
      return connection;
    }
  }
  return nullptr;
}

class Pools : public asio::execution_context::service {
 public:
  using key_type = Pools;
  static asio::execution_context::id id;
  explicit Pools(asio::execution_context& context) : service(context) {}

  std::unordered_map<std::uint64_t, Pool> by_upstream;

 private:
  void shutdown() override { by_upstream.clear(); }
};
asio::execution_context::id Pools::id;

bool repeatable(const Request& request) {
  return request.method == "GET" || request.method == "HEAD";
}

/// Whether the server had given up a connection that rested, before our request reached it. With
/// 408 it says so to nobody in particular.
bool was_stale(const Outcome& outcome, const ResponseReader& reader) {
  return outcome.state == ResponseReader::State::complete ? reader.status() == 408 : reader.empty();
}

}  // namespace

struct Upstream::Impl {
  explicit Impl(UpstreamOptions its_options) : options(std::move(its_options)) {}

  Pool& pool(asio::io_context& context);
  /// The request as one run of bytes, or the refusal when it is too large.
  std::optional<Response> write(const Request& request, std::string& wire) const;
  awaitable<ConnectionPtr> connect(asio::io_context& context, std::int64_t deadline);
  awaitable<UniqueFd> connect_unix(asio::io_context& context, std::int64_t deadline);
  awaitable<UniqueFd> connect_tcp(asio::io_context& context, std::int64_t deadline);
  Response response(ResponseReader& reader, bool head) const;
  /// The response of an exchange that was completed; the connection goes back to the pool if it
  /// can.
  Response take_response(Pool& pool, ConnectionPtr connection, bool sent, bool head) const;

  const UpstreamOptions options;
  std::optional<asio::ssl::context> tls;
  std::string host;
  const std::uint64_t id = [] {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(1);
  }();
  mutable std::mutex mutex;  // guards `counts`
  std::vector<std::shared_ptr<Counts>> counts;
};

namespace {

/// One request over a pooled connection, for someone who waits without a coroutine.
class Errand final : PlainConnection::Finish {
 public:
  void run(std::shared_ptr<const Upstream::Impl> impl, Pool& pool, ConnectionPtr connection,
           bool head, Continuation& then) {
    impl_ = std::move(impl);
    pool_ = &pool;
    connection_ = std::move(connection);
    head_ = head;
    then_ = &then;
    static_cast<PlainConnection&>(*connection_).run(wire, true, *this);
  }
  std::string wire;

 private:
  void finished(Outcome outcome) override;
  void dropped() override {
    Continuation& then = *then_;
    delete this;
    then.abandoned();
  }

  std::shared_ptr<const Upstream::Impl> impl_;
  Pool* pool_ = nullptr;
  ConnectionPtr connection_;
  bool head_ = false;
  Continuation* then_ = nullptr;
};

Pool::Pool() = default;
Pool::~Pool() = default;

Response timed_out_response() {
  return plain_response(504, "the metadata service did not answer in time");
}

Response invalid_response() {
  return plain_response(502, "invalid answer from the metadata service");
}

}  // namespace

Pool& Upstream::Impl::pool(asio::io_context& context) {
  auto& pools = asio::use_service<Pools>(context).by_upstream;
  const auto [found, fresh] = pools.try_emplace(id);
  if (fresh) {
    const std::lock_guard lock(mutex);
    counts.push_back(found->second.counts);
  }
  return found->second;
}

std::optional<Response> Upstream::Impl::write(const Request& request, std::string& wire) const {
  wire.reserve(512 + request.target.size() + request.body.size());
  wire += request.method;
  wire += ' ';
  wire += request.target;
  wire += " HTTP/1.1\r\n";
  const auto add = [&wire](std::string_view name, std::string_view value) {
    wire += name;
    wire += ": ";
    wire += value;
    wire += "\r\n";
  };
  if (!request.header("Host")) {
    add("Host", host);
  }
  for (const Header& header : request.headers) {
    if (single_line(header.name) && single_line(header.value)) {
      add(header.name, header.value);
    }
  }
  if (!request.body.empty() || !repeatable(request)) {
    add("Content-Length", std::to_string(request.body.size()));
  }
  if (!options.keep_alive) {
    add("Connection", "close");
  }
  wire += "\r\n";
  const std::size_t head = wire.size();
  wire += request.body;
  if (options.max_request != 0 && wire.size() > options.max_request) {
    if (head <= options.max_request) {
      return plain_response(413, "request body too large");
    }
    return request.target.size() > options.max_request / 2
               ? plain_response(414, "request target too long")
               : plain_response(431, "request head too large");
  }
  return std::nullopt;
}

awaitable<UniqueFd> Upstream::Impl::connect_unix(asio::io_context& context, std::int64_t deadline) {
  const auto& path = std::get<UnixEndpoint>(options.endpoint).path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    co_return UniqueFd();
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  for (auto pause = kBacklogPause;;) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
      co_return UniqueFd();
    }
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      co_return fd;
    }
    // EAGAIN: the backlog is full, and the kernel has no event for its getting room.
    if ((errno != EAGAIN && errno != EINTR) || Deadlines::now() >= deadline) {
      co_return UniqueFd();
    }
    fd.reset();
    asio::steady_timer timer(context, pause);
    co_await timer.async_wait(kAwait);
    pause = std::min(pause * 2, kLongestBacklogPause);
  }
}

/// A TCP connection on its way.
class Connecting final : public Deadlines::Entry {
 public:
  Connecting(asio::io_context& context, int fd, std::int64_t deadline) : descriptor_(context, fd) {
    Deadlines::of(context).add(*this);
    expire_at(deadline);
  }
  ~Connecting() override { descriptor_.release(); }  // the descriptor is another's

  awaitable<bool> connected() {
    co_await descriptor_.async_wait(Descriptor::wait_write, kAwait);
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(descriptor_.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
    co_return !timed_out_ && error == 0;
  }

 private:
  void expired() override {
    timed_out_ = true;
    error_code ignored;
    descriptor_.cancel(ignored);
  }

  Descriptor descriptor_;
  bool timed_out_ = false;
};

awaitable<UniqueFd> Upstream::Impl::connect_tcp(asio::io_context& context, std::int64_t deadline) {
  const auto& endpoint = std::get<TcpEndpoint>(options.endpoint);
  std::vector<asio::ip::tcp::endpoint> targets;
  error_code error;
  if (const auto literal = asio::ip::make_address(endpoint.host, error); !error) {
    targets.emplace_back(literal, endpoint.port);
  } else {
    asio::ip::tcp::resolver resolver(context);
    const auto [failed, found] =
        co_await resolver.async_resolve(endpoint.host, std::to_string(endpoint.port), kAwait);
    if (failed) {
      co_return UniqueFd();
    }
    for (const auto& entry : found) {
      targets.push_back(entry.endpoint());
    }
  }
  for (const auto& target : targets) {
    UniqueFd fd(::socket(target.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                         IPPROTO_TCP));
    if (!fd) {
      co_return UniqueFd();
    }
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (::connect(fd.get(), target.data(), static_cast<socklen_t>(target.size())) == 0) {
      co_return fd;
    }
    if (errno != EINPROGRESS) {
      continue;
    }
    Connecting connecting(context, fd.get(), deadline);
    if (co_await connecting.connected()) {
      co_return fd;
    }
  }
  co_return UniqueFd();
}

awaitable<ConnectionPtr> Upstream::Impl::connect(asio::io_context& context, std::int64_t deadline) {
  const std::int64_t soon = std::min(deadline, Deadlines::now() + options.connect.count());
  if (std::holds_alternative<UnixEndpoint>(options.endpoint)) {
    auto fd = co_await connect_unix(context, soon);
    co_return fd ? std::make_unique<PlainConnection>(context, std::move(fd), options.max_response)
                 : nullptr;
  }
  auto fd = co_await connect_tcp(context, soon);
  if (!fd) {
    co_return nullptr;
  }
  if (!options.tls) {
    co_return std::make_unique<PlainConnection>(context, std::move(fd), options.max_response);
  }
  sockaddr_storage self{};
  socklen_t size = sizeof self;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&self), &size);
  const auto protocol = self.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4();
  auto connection =
      std::make_unique<TlsConnection>(TcpSocket(context, protocol, fd.release()),
                                      const_cast<asio::ssl::context&>(*tls), options.max_response);
  connection->begin(soon, false);
  if (!co_await connection->handshake(std::get<TcpEndpoint>(options.endpoint),
                                      !options.tls->insecure)) {
    co_return nullptr;
  }
  co_return connection;
}

Response Upstream::Impl::response(ResponseReader& reader, bool head) const {
  Response result;
  result.status = reader.status();
  if (const auto type = reader.header("Content-Type")) {
    result.content_type = *type;
  }
  for (const auto& name : options.pass_headers) {
    if (const auto value = reader.header(name)) {
      result.headers.emplace_back(name, *value);
    }
  }
  if (head) {
    result.content_length = reader.content_length();
  }
  result.body = Body(reader.take_body());
  return result;
}

Result<std::unique_ptr<Upstream>> Upstream::create(UpstreamOptions options) {
  auto impl = std::make_shared<Impl>(std::move(options));
  impl->host = std::holds_alternative<UnixEndpoint>(impl->options.endpoint)
                   ? "localhost"
                   : to_string(impl->options.endpoint);
  if (impl->options.tls) {
    const TlsOptions& want = *impl->options.tls;
    impl->tls.emplace(asio::ssl::context::tls_client);
    error_code error;
    const auto failed = [&](const std::string& file) {
      return fail(ErrorCode::invalid, "read " + file + ": " + error.message());
    };
    if (want.insecure) {
      impl->tls->set_verify_mode(asio::ssl::verify_none, error);
    } else {
      impl->tls->set_verify_mode(asio::ssl::verify_peer, error);
      if (want.ca_file.empty()) {
        impl->tls->set_default_verify_paths(error);
      } else if (impl->tls->load_verify_file(want.ca_file, error); error) {
        return failed(want.ca_file);
      }
    }
    if (!want.client_cert.empty() && !want.client_key.empty()) {
      if (impl->tls->use_certificate_chain_file(want.client_cert, error); error) {
        return failed(want.client_cert);
      }
      if (impl->tls->use_private_key_file(want.client_key, asio::ssl::context::pem, error); error) {
        return failed(want.client_key);
      }
    }
  }
  return std::unique_ptr<Upstream>(new Upstream(std::move(impl)));
}

Upstream::Upstream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Upstream::~Upstream() = default;

Response Upstream::Impl::take_response(Pool& pool, ConnectionPtr connection, bool sent,
                                       bool head) const {
  auto result = response(connection->reader, head);
  if (options.keep_alive && sent) {
    pool.give(std::move(connection), options);
  }
  return result;
}

void Errand::finished(Outcome outcome) {
  Continuation& then = *then_;
  Pool& pool = *pool_;
  auto connection = std::move(connection_);
  const auto impl = std::move(impl_);
  const bool head = head_;
  wire.clear();
  std::unique_ptr<Errand> self(this);
  if (wire.capacity() <= kSpareRequest && pool.spare.size() < impl->options.idle_per_worker) {
    pool.spare.push_back(std::move(self));
  }
  if (connection->timed_out() && outcome.state != ResponseReader::State::complete) {
    ++pool.counts->timeouts;
    then.answered(timed_out_response());
  } else if (was_stale(outcome, connection->reader)) {
    --pool.counts->requests;
    ++pool.counts->retried;
    then.unanswered();
  } else if (outcome.state == ResponseReader::State::complete) {
    then.answered(impl->take_response(pool, std::move(connection), outcome.sent, head));
  } else {
    ++pool.counts->invalid;
    then.answered(invalid_response());
  }
}

bool Upstream::ask(const Request& request, asio::io_context& here, Continuation& then) {
  if (impl_->options.tls || !repeatable(request)) {
    return false;
  }
  Pool& pool = impl_->pool(here);
  auto connection = pool.take();
  if (!connection) {
    return false;
  }
  std::unique_ptr<Errand> errand;
  if (pool.spare.empty()) {
    errand = std::make_unique<Errand>();
  } else {
    errand = std::move(pool.spare.back());
    pool.spare.pop_back();
  }
  if (impl_->write(request, errand->wire)) {
    errand->wire.clear();
    pool.spare.push_back(std::move(errand));
    pool.give(std::move(connection), impl_->options);
    return false;  // handle() says why not
  }
  ++pool.counts->requests;
  ++pool.counts->reused;
  const bool head = request.method == "HEAD";
  connection->begin(Deadlines::now() + impl_->options.deadline.count(), head);
  errand.release()->run(impl_, pool, std::move(connection), head, then);
  return true;
}

awaitable<Response> Upstream::handle(const Request& request) {
  const auto impl = impl_;  // outlives us if we are destroyed meanwhile
  const auto executor = co_await asio::this_coro::executor;
  auto& context = static_cast<asio::io_context&>(asio::query(executor, asio::execution::context));
  Pool& pool = impl->pool(context);
  Counts& counts = *pool.counts;
  ++counts.requests;

  std::string wire;
  if (auto refusal = impl->write(request, wire)) {
    co_return std::move(*refusal);
  }
  const std::int64_t deadline = Deadlines::now() + impl->options.deadline.count();
  const bool head = request.method == "HEAD";

  for (bool may_reuse = repeatable(request);;) {
    auto connection = may_reuse ? pool.take() : nullptr;
    const bool reused = connection != nullptr;
    if (reused) {
      ++counts.reused;
    } else {
      ++counts.connects;
      connection = co_await impl->connect(context, deadline);
      if (!connection) {
        ++counts.unavailable;
        auto response = plain_response(503, "the metadata service is not available");
        response.headers.emplace_back("Retry-After", "1");
        co_return response;
      }
    }
    connection->begin(deadline, head);
    const auto outcome = co_await connection->exchange(wire, reused);
    if (connection->timed_out() && outcome.state != ResponseReader::State::complete) {
      ++counts.timeouts;
      co_return timed_out_response();
    }
    if (reused && was_stale(outcome, connection->reader)) {
      ++counts.retried;
      may_reuse = false;
      continue;
    }
    if (outcome.state == ResponseReader::State::complete) {
      co_return impl->take_response(pool, std::move(connection), outcome.sent, head);
    }
    ++counts.invalid;
    co_return invalid_response();
  }
}

Upstream::Counters Upstream::counters() const {
  Counters sum;
  const std::lock_guard lock(impl_->mutex);
  for (const auto& one : impl_->counts) {
    sum.requests += one->requests.get();
    sum.connects += one->connects.get();
    sum.reused += one->reused.get();
    sum.retried += one->retried.get();
    sum.unavailable += one->unavailable.get();
    sum.timeouts += one->timeouts.get();
    sum.invalid += one->invalid.get();
  }
  return sum;
}

}  // namespace metatap::http
