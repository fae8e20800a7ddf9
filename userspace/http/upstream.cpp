// SPDX-License-Identifier: Apache-2.0
#include "http/upstream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
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

/// A connected socket, with or without TLS. Tries first and waits second.
class Connection final : public Deadlines::Entry {
 public:
  Connection(asio::io_context& context, UniqueFd fd, std::size_t body_limit)
      : reader(body_limit), descriptor_(context, fd.release()) {
    Deadlines::of(context).add(*this);
  }

  /// Whether the deadline passed; a timed-out connection is not used again.
  [[nodiscard]] bool timed_out() const { return timed_out_; }

  awaitable<bool> connected() {  // after EINPROGRESS
    co_await descriptor_.async_wait(Descriptor::wait_write, kAwait);
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(descriptor_.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
    co_return !timed_out_ && error == 0;
  }

  awaitable<bool> start_tls(asio::ssl::context& tls, const TcpEndpoint& endpoint, bool verify) {
    auto& context = static_cast<asio::io_context&>(descriptor_.get_executor().context());
    const auto protocol = family() == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4();
    tls_.emplace(TcpSocket(context, protocol, descriptor_.release()), tls);
    if (verify) {
      tls_->set_verify_callback(asio::ssl::host_name_verification(endpoint.host));
    }
    SSL_set_tlsext_host_name(tls_->native_handle(), endpoint.host.c_str());
    const auto [error] = co_await tls_->async_handshake(asio::ssl::stream_base::client, kAwait);
    co_return !error;
  }

  /// All of `bytes`; false if the connection is gone or the deadline has passed.
  awaitable<bool> write(std::string_view bytes) {
    if (tls_) {
      while (!bytes.empty()) {
        const auto [error, sent] =
            co_await tls_->async_write_some(asio::const_buffer(bytes.data(), bytes.size()), kAwait);
        if (error) {
          co_return false;
        }
        bytes.remove_prefix(sent);
      }
      co_return true;
    }
    while (!try_write(bytes)) {
      if (errno != EAGAIN) {
        co_return false;
      }
      const auto [error] = co_await descriptor_.async_wait(Descriptor::wait_write, kAwait);
      if (error) {
        co_return false;
      }
    }
    co_return true;
  }
  /// Whether all could be written at once; if not, what is left in `bytes`, and errno.
  bool try_write(std::string_view& bytes) {
    if (tls_) {
      errno = EAGAIN;
      return false;
    }
    while (!bytes.empty()) {
      const ssize_t sent =
          ::send(descriptor_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno != EINTR) {
        return false;
      }
    }
    return true;
  }

  /// A response, in `reader`; failed on anything else. The deadline, if that was it, shows in
  /// timed_out().
  awaitable<ResponseReader::State> read() {
    for (auto state = ResponseReader::State::need_more;;) {
      const auto space = reader.space();
      ssize_t got = 0;
      if (tls_) {
        const auto [error, bytes] =
            co_await tls_->async_read_some(asio::buffer(space.data(), space.size()), kAwait);
        if (error && (timed_out_ || error != asio::error::eof)) {
          // A missing close_notify ends a body that has no length, as with plain TCP.
          co_return timed_out_ || error != asio::ssl::error::stream_truncated
              ? ResponseReader::State::failed
              : reader.finish();
        }
        got = static_cast<ssize_t>(bytes);
      } else {
        const auto [error] = co_await descriptor_.async_wait(Descriptor::wait_read, kAwait);
        if (error) {
          co_return ResponseReader::State::failed;
        }
        got = ::recv(descriptor_.native_handle(), space.data(), space.size(), 0);
        if (got < 0) {
          if (errno == EAGAIN || errno == EINTR) {
            continue;
          }
          co_return ResponseReader::State::failed;
        }
      }
      if (got == 0) {
        co_return reader.finish();
      }
      state = reader.received(static_cast<std::size_t>(got));
      if (state != ResponseReader::State::need_more) {
        co_return state;
      }
    }
  }

  ResponseReader reader;

  void begin(std::int64_t deadline) {
    idle_ = false;
    expire_at(deadline);
  }
  void rest(std::chrono::milliseconds longest) {
    idle_ = true;
    expire_after(longest);
  }

 private:
  int family() {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    ::getsockname(descriptor_.native_handle(), reinterpret_cast<sockaddr*>(&storage), &size);
    return storage.ss_family;
  }
  void expired() override {
    timed_out_ = true;
    error_code ignored;
    if (idle_) {
      tls_.reset();
      descriptor_.close(ignored);
    } else if (tls_) {
      tls_->next_layer().cancel(ignored);
    } else if (descriptor_.is_open()) {
      descriptor_.cancel(ignored);
    }
  }

  Descriptor descriptor_;
  std::optional<TlsStream> tls_;
  bool timed_out_ = false, idle_ = false;
};

using ConnectionPtr = std::unique_ptr<Connection>;

struct alignas(64) Counts {
  Count requests, connects, reused, retried, unavailable, timeouts, invalid;
};

/// The idle connections of one upstream in one io_context, the latest used last.
struct Pool {
  std::vector<ConnectionPtr> idle;
  std::vector<std::string> spare;  // memory for requests
  std::shared_ptr<Counts> counts = std::make_shared<Counts>();
};

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

}  // namespace

struct Upstream::Impl {
  explicit Impl(UpstreamOptions its_options) : options(std::move(its_options)) {}

  Pool& pool(asio::io_context& context);
  /// The request as one run of bytes, or the refusal when it is too large.
  std::optional<Response> write(const Request& request, std::string& wire) const;
  awaitable<ConnectionPtr> connect(asio::io_context& context, std::int64_t deadline);
  awaitable<ConnectionPtr> connect_unix(asio::io_context& context, std::int64_t deadline);
  awaitable<ConnectionPtr> connect_tcp(asio::io_context& context, std::int64_t deadline);
  Response response(ResponseReader& reader, bool head) const;

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

awaitable<ConnectionPtr> Upstream::Impl::connect_unix(asio::io_context& context,
                                                      std::int64_t deadline) {
  const auto& path = std::get<UnixEndpoint>(options.endpoint).path;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    co_return nullptr;
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  for (auto pause = kBacklogPause;;) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
      co_return nullptr;
    }
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      co_return std::make_unique<Connection>(context, std::move(fd), options.max_response);
    }
    // EAGAIN: the backlog is full, and the kernel has no event for its getting room.
    if (errno != EAGAIN && errno != EINTR) {
      co_return nullptr;
    }
    if (Deadlines::now() >= deadline) {
      co_return nullptr;
    }
    fd.reset();
    asio::steady_timer timer(context, pause);
    co_await timer.async_wait(kAwait);
    pause = std::min(pause * 2, kLongestBacklogPause);
  }
}

awaitable<ConnectionPtr> Upstream::Impl::connect_tcp(asio::io_context& context,
                                                     std::int64_t deadline) {
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
      co_return nullptr;
    }
    for (const auto& entry : found) {
      targets.push_back(entry.endpoint());
    }
  }
  for (const auto& target : targets) {
    UniqueFd fd(::socket(target.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                         IPPROTO_TCP));
    if (!fd) {
      co_return nullptr;
    }
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int result = ::connect(fd.get(), target.data(), static_cast<socklen_t>(target.size()));
    if (result != 0 && errno != EINPROGRESS) {
      continue;
    }
    auto connection = std::make_unique<Connection>(context, std::move(fd), options.max_response);
    connection->begin(deadline);
    if (result != 0 && !co_await connection->connected()) {
      continue;
    }
    co_return connection;
  }
  co_return nullptr;
}

awaitable<ConnectionPtr> Upstream::Impl::connect(asio::io_context& context, std::int64_t deadline) {
  const std::int64_t soon = std::min(deadline, Deadlines::now() + options.connect.count());
  if (std::holds_alternative<UnixEndpoint>(options.endpoint)) {
    co_return co_await connect_unix(context, soon);
  }
  auto connection = co_await connect_tcp(context, soon);
  if (connection && options.tls &&
      !co_await connection->start_tls(const_cast<asio::ssl::context&>(*tls),
                                      std::get<TcpEndpoint>(options.endpoint),
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

awaitable<Response> Upstream::handle(const Request& request) {
  const auto impl = impl_;  // outlives us if we are destroyed meanwhile
  const auto executor = co_await asio::this_coro::executor;
  auto& context = static_cast<asio::io_context&>(asio::query(executor, asio::execution::context));
  Pool& pool = impl->pool(context);
  Counts& counts = *pool.counts;
  ++counts.requests;

  std::string wire;
  if (!pool.spare.empty()) {
    wire = std::move(pool.spare.back());
    pool.spare.pop_back();
  }
  if (auto refusal = impl->write(request, wire)) {
    co_return std::move(*refusal);
  }
  const std::int64_t deadline = Deadlines::now() + impl->options.deadline.count();
  const bool head = request.method == "HEAD";

  for (bool may_reuse = repeatable(request);;) {
    ConnectionPtr connection;
    while (may_reuse && !pool.idle.empty() && !connection) {
      connection = std::move(pool.idle.back());
      pool.idle.pop_back();
      if (connection->timed_out()) {
        connection.reset();
      }
    }
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
    connection->begin(deadline);

    ResponseReader& reader = connection->reader;
    reader.begin(head);
    std::string_view rest = wire;
    const bool sent =
        connection->try_write(rest) || (errno == EAGAIN && co_await connection->write(rest));
    // A peer may answer and close before it has read all.
    const auto state =
        sent || !reused ? co_await connection->read() : ResponseReader::State::failed;
    if (state == ResponseReader::State::complete) {
      auto response = impl->response(reader, head);
      wire.clear();
      if (wire.capacity() <= kSpareRequest && pool.spare.size() < impl->options.idle_per_worker) {
        pool.spare.push_back(std::move(wire));
      }
      if (impl->options.keep_alive && reader.keep_alive() && sent &&
          pool.idle.size() < impl->options.idle_per_worker) {
        connection->rest(impl->options.idle);
        std::erase_if(pool.idle, [](const auto& old) { return old->timed_out(); });
        pool.idle.push_back(std::move(connection));
      }
      co_return response;
    }
    if (connection->timed_out()) {
      ++counts.timeouts;
      co_return plain_response(504, "the metadata service did not answer in time");
    }
    if (reused && reader.empty()) {  // closed while it was idle: nobody acted on the request
      ++counts.retried;
      may_reuse = false;
      continue;
    }
    ++counts.invalid;
    co_return plain_response(502, "invalid answer from the metadata service");
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
