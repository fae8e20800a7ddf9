// SPDX-License-Identifier: Apache-2.0
#include "http/upstream.hpp"

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <mutex>
#include <utility>

#include "base/ascii.hpp"
#include "http/connection.hpp"
#include "http/connector.hpp"
#include "http/deadlines.hpp"
#include "http/pool.hpp"
#include "http/recycled.hpp"
#include "http/response_writer.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using State = ResponseReader::State;

/// May be sent twice.
bool repeatable(const Request& request) {
  return request.method == "GET" || request.method == "HEAD";
}

/// Whether the server had given up a connection that rested, before our request reached it. With
/// 408 it says so to nobody in particular.
bool was_stale(const Outcome& outcome, const ResponseReader& reader) {
  return outcome.state == ResponseReader::State::complete ? reader.status() == 408 : reader.empty();
}

Response unavailable_response() {
  auto response = plain_response(503, "the metadata service is not available");
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace

struct Upstream::Impl {
  explicit Impl(UpstreamOptions its_options) : options(std::move(its_options)) {}

  /// The calling thread's.
  Pool& pool(asio::io_context& context);
  /// The request as one run of bytes, or the refusal when it is too large.
  std::optional<Response> write(const Request& request, std::string& wire) const;
  Response response(ResponseReader& reader, bool head) const;

  const UpstreamOptions options;
  std::unique_ptr<Connector> connector;
  std::string host;
  const std::uint64_t id = [] {
    static std::atomic<std::uint64_t> next{1};
    return next.fetch_add(1);
  }();
  mutable std::mutex mutex;  // guards `counts`
  std::vector<std::shared_ptr<WorkerCounts>> counts;
};

namespace {

/// One request on its way, over a pooled connection, a new one, or first the one and then the
/// other. Owns itself until there is a response.
class Exchange final : public Recycled, Connection::Observer {
 public:
  Exchange(std::shared_ptr<const Upstream::Impl> client, Pool& pool, asio::io_context& here,
           std::string wire, bool head, Continuation& then)
      : client_(std::move(client)),
        pool_(pool),
        here_(here),
        wire_(std::move(wire)),
        head_(head),
        then_(then),
        deadline_(Deadlines::now() + client_->options.deadline.count()) {}

  void start(bool may_reuse) noexcept;

 private:
  /// The end of connect(): called, or gone with the context.
  class Connected {
   public:
    explicit Connected(Exchange& exchange) : exchange_(&exchange) {}
    Connected(Connected&& other) noexcept : exchange_(std::exchange(other.exchange_, nullptr)) {}
    Connected& operator=(Connected&&) = delete;
    ~Connected() {
      if (exchange_ != nullptr) {
        exchange_->connected(nullptr);
      }
    }
    void operator()(const std::exception_ptr& error, ConnectionPtr connection) {
      auto& exchange = *std::exchange(exchange_, nullptr);
      if (error) {
        exchange.answer(failed_response(error));
      } else {
        exchange.connected(std::move(connection));
      }
    }

   private:
    Exchange* exchange_;
  };

  void connect() noexcept;
  void connected(ConnectionPtr connection) noexcept;
  void exchange(ConnectionPtr connection, bool reused) noexcept;
  void finished(Outcome outcome) noexcept override;
  /// The end.
  void answer(Response response) noexcept;

  const std::shared_ptr<const Upstream::Impl> client_;
  Pool& pool_;
  asio::io_context& here_;
  std::string wire_;
  const bool head_;
  Continuation& then_;
  const std::int64_t deadline_;
  ConnectionPtr connection_;
  bool reused_ = false;
};

void Exchange::start(bool may_reuse) noexcept {
  if (auto connection = may_reuse ? pool_.take() : nullptr) {
    ++pool_.counts()->reused;
    exchange(std::move(connection), true);
  } else {
    connect();
  }
}

void Exchange::connect() noexcept {
  ++pool_.counts()->connects;
  Connected connected(*this);
  try {
    asio::co_spawn(here_, client_->connector->connect(here_, deadline_), std::move(connected));
  } catch (const std::bad_alloc&) {  // `connected` has said so
  }
}

void Exchange::connected(ConnectionPtr connection) noexcept {
  if (connection) {
    exchange(std::move(connection), false);
  } else {
    ++pool_.counts()->unavailable;
    answer(unavailable_response());
  }
}

void Exchange::exchange(ConnectionPtr connection, bool reused) noexcept {
  connection_ = std::move(connection);
  reused_ = reused;
  connection_->begin(deadline_, head_);
  connection_->exchange(wire_, reused, *this);
}

void Exchange::finished(Outcome outcome) noexcept {
  auto connection = std::move(connection_);
  auto& counts = *pool_.counts();
  if (connection->timed_out() && outcome.state != State::complete) {
    ++counts.timeouts;
    answer(plain_response(504, "the metadata service did not answer in time"));
  } else if (reused_ && was_stale(outcome, connection->reader)) {
    ++counts.retried;
    connect();
  } else if (outcome.state == State::complete) {
    auto response = client_->response(connection->reader, head_);
    const UpstreamOptions& options = client_->options;
    if (options.keep_alive && outcome.sent) {
      pool_.give(std::move(connection), options.idle_per_worker, options.idle);
    }
    answer(std::move(response));
  } else if (connection->reader.out_of_memory()) {
    ++counts.unavailable;
    answer(busy_response("too much is under way"));
  } else {
    ++counts.invalid;
    answer(plain_response(502, "invalid answer from the metadata service"));
  }
}

void Exchange::answer(Response response) noexcept {
  pool_.give_buffer(std::move(wire_));
  Continuation& then = then_;
  delete this;
  then.answered(std::move(response));
}

}  // namespace

Pool& Upstream::Impl::pool(asio::io_context& context) {
  Pool& pool = Pool::of(context, id);
  if (pool.counts().use_count() == 1) {  // a new one: no other thread knows it
    const std::lock_guard lock(mutex);
    counts.push_back(pool.counts());
  }
  return pool;
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
  auto connector = Connector::create(options);
  if (!connector) {
    return tl::make_unexpected(std::move(connector.error()));
  }
  auto impl = std::make_shared<Impl>(std::move(options));
  impl->connector = std::move(*connector);
  impl->host = std::holds_alternative<UnixEndpoint>(impl->options.endpoint)
                   ? "localhost"
                   : to_string(impl->options.endpoint);
  return std::unique_ptr<Upstream>(new Upstream(std::move(impl)));
}

Upstream::Upstream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Upstream::~Upstream() = default;

std::optional<Response> Upstream::handle(const Request& request, asio::io_context& here,
                                         Continuation& then) {
  Pool& pool = impl_->pool(here);
  ++pool.counts()->requests;
  auto wire = pool.take_buffer();
  if (auto refusal = impl_->write(request, wire)) {
    pool.give_buffer(std::move(wire));
    return refusal;
  }
  auto* const exchange =
      new Exchange(impl_, pool, here, std::move(wire), request.method == "HEAD", then);
  exchange->start(repeatable(request));  // owns itself, and may be gone
  return std::nullopt;
}

Status Upstream::reload_tls() {
  return impl_->connector->reload_tls();
}

UpstreamCounts<> Upstream::counters() const {
  UpstreamCounts<> sum;
  const std::lock_guard lock(impl_->mutex);
  for (const auto& one : impl_->counts) {
    sum += *one;
  }
  return sum;
}

}  // namespace metatap::http
