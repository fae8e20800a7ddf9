// SPDX-License-Identifier: Apache-2.0
#include "agent/ovsdb_connection.hpp"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "http/coroutine.hpp"
#include "http/spawn.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using nlohmann::json;

constexpr std::size_t kLargestMessage = std::size_t{128} << 20U;

tl::unexpected<Error> no_json_rpc() {
  return fail(ErrorCode::invalid, "the peer does not speak JSON-RPC");
}

}  // namespace

OvsdbConnection::OvsdbConnection(asio::io_context& context, asio::ssl::context* tls,
                                 const OvsdbOptions& options)
    : context_(context),
      tls_context_(tls),
      connect_within_(options.connect),
      probe_(options.probe),
      connect_for_us_(options.connect_for_us),
      share_(http::OverloadShare::of(context).memory()),
      socket_(context),
      watchdog_(context) {}

asio::awaitable<Status> OvsdbConnection::connect(const OvsdbRemote& remote) {
  close_unless_connected();
  std::vector<asio::generic::stream_protocol::endpoint> endpoints;
  if (remote.kind == OvsdbRemote::Kind::unix_socket) {
    endpoints.emplace_back(asio::local::stream_protocol::endpoint(remote.host));
  } else {
    auto found = co_await addresses_of(remote.host);
    if (!found) {
      co_return tl::make_unexpected(std::move(found.error()).in("resolve the name"));
    }
    for (const auto& address : *found) {
      endpoints.emplace_back(asio::ip::tcp::endpoint(address, remote.port));
    }
  }
  error_code last = asio::error::host_not_found;
  for (const auto& endpoint : endpoints) {
    if (closed_) {
      last = asio::error::operation_aborted;
      break;
    }
    error_code ignored;
    socket_.close(ignored);
    std::tie(last) = co_await socket_.async_connect(endpoint, http::kAsTuple);
    if (!last) {
      break;
    }
  }
  if (last == asio::error::access_denied && connect_for_us_ &&
      remote.kind == OvsdbRemote::Kind::unix_socket) {
    auto taken = co_await take_connection(remote.host);
    if (!taken) {
      co_return taken;
    }
  } else if (last) {
    co_return fail(ErrorCode::unavailable, "connect: " + last.message());
  }
  if (remote.kind == OvsdbRemote::Kind::ssl) {
    tls_.emplace(socket_, *tls_context_);
    std::tie(last) = co_await tls_->async_handshake(asio::ssl::stream_base::client, http::kAsTuple);
    if (last) {
      co_return fail(ErrorCode::unavailable, "TLS handshake: " + last.message());
    }
  }
  watch();
  co_return Status();
}

asio::awaitable<Status> OvsdbConnection::take_connection(std::string path) {
  auto asking = connect_for_us_(std::move(path));
  auto connected = co_await std::move(asking);
  if (!connected) {
    co_return tl::make_unexpected(std::move(connected.error()).in("connect"));
  }
  error_code error;
  socket_.close(error);
  if (closed_) {
    co_return fail(ErrorCode::unavailable, "connect: it took too long");
  }
  socket_.assign(asio::local::stream_protocol(), connected->get(), error);
  if (error) {
    co_return fail(ErrorCode::internal, "connect: " + error.message());
  }
  (void)connected->release();
  co_return Status();
}

asio::awaitable<Result<http::Names::Addresses>> OvsdbConnection::addresses_of(
    const std::string& host) {
  error_code error;
  if (const auto literal = asio::ip::make_address(host, error); !error) {
    co_return http::Names::Addresses{literal};
  }
  co_return co_await http::Names::of(context_).find(host, connect_within_);
}

/// Until watch() takes the timer over.
void OvsdbConnection::close_unless_connected() {
  watchdog_.expires_after(connect_within_);
  watchdog_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) {
      self->close();
    }
  });
}

/// Asks for a sign of life after one silent interval, gives up after two. Without an interval a
/// server may be silent for ever.
void OvsdbConnection::watch() {
  if (probe_ == std::chrono::milliseconds::zero()) {
    watchdog_.cancel();
    return;
  }
  watchdog_.expires_after(probe_);
  watchdog_.async_wait([self = shared_from_this()](error_code error) {
    if (error || self->closed_) {
      return;
    }
    if (!self->heard_ && self->asked_) {
      self->close();
      return;
    }
    if (!self->heard_) {
      self->asked_ = true;
      self->send(request("echo", json::array(), "echo"));
    }
    self->heard_ = false;
    self->watch();
  });
}

void OvsdbConnection::close() {
  closed_ = true;
  error_code ignored;
  watchdog_.cancel();
  socket_.close(ignored);  // ends whatever is waited for
}

void OvsdbConnection::send(const json& message) {
  outgoing_.push_back(message.dump(-1, ' ', false, json::error_handler_t::replace));
  if (!writing_) {
    writing_ = true;
    http::spawn(context_.get_executor(), write(shared_from_this()), "ovsdb",
                [self = shared_from_this()](const Error&) { self->close(); });
  }
}

asio::awaitable<void> OvsdbConnection::write(std::shared_ptr<OvsdbConnection> self) {
  while (!self->closed_ && !self->outgoing_.empty()) {
    const auto text = std::move(self->outgoing_.front());
    self->outgoing_.pop_front();
    error_code error;
    std::size_t written = 0;
    if (self->tls_) {
      std::tie(error, written) =
          co_await asio::async_write(*self->tls_, asio::buffer(text), http::kAsTuple);
    } else {
      std::tie(error, written) =
          co_await asio::async_write(self->socket_, asio::buffer(text), http::kAsTuple);
    }
    if (error) {
      self->close();  // the reader notices
    }
  }
  self->writing_ = false;
}

asio::awaitable<Result<json>> OvsdbConnection::receive() {
  while (incoming_.empty()) {
    error_code error;
    std::size_t size = 0;
    if (tls_) {
      std::tie(error, size) = co_await tls_->async_read_some(asio::buffer(chunk_), http::kAsTuple);
    } else {
      std::tie(error, size) =
          co_await socket_.async_read_some(asio::buffer(chunk_), http::kAsTuple);
    }
    if (error) {
      co_return fail(ErrorCode::unavailable, "connection lost: " + error.message());
    }
    heard_ = true;
    asked_ = false;
    auto texts = splitter_.take({chunk_.data(), size});
    if (!texts || splitter_.pending() > kLargestMessage) {
      co_return no_json_rpc();
    }
    if (!share_.resize(splitter_.pending())) {
      co_return fail(ErrorCode::unavailable, "no memory left for what the server has to say");
    }
    std::ranges::move(*texts, std::back_inserter(incoming_));
  }
  auto message = json::parse(incoming_.front(), nullptr, false);
  incoming_.pop_front();
  if (!message.is_object()) {
    co_return no_json_rpc();
  }
  co_return message;
}

// Apart from the coroutines: GCC 12 cannot keep an initializer list in a frame.
json OvsdbConnection::request(std::string_view method, json params, const json& id) {
  return {{"method", method}, {"params", std::move(params)}, {"id", id}};
}

}  // namespace metatap::agent
