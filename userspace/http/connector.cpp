// SPDX-License-Identifier: Apache-2.0
#include "http/connector.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <vector>

#include "base/log.hpp"
#include "http/coroutine.hpp"
#include "http/names.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;

constexpr std::chrono::milliseconds kBacklogPause{1};
constexpr std::chrono::milliseconds kLongestBacklogPause{16};

/// A TCP connection on its way.
class Connecting final : public Deadlines::Entry {
 public:
  Connecting(asio::io_context& context, int fd, std::int64_t deadline) : descriptor_(context, fd) {
    Deadlines::of(context).add(*this);
    expire_at(deadline);
  }
  ~Connecting() override { descriptor_.release(); }  // the descriptor is another's

  awaitable<bool> connected() {
    co_await descriptor_.async_wait(asio::posix::descriptor_base::wait_write, kAsTuple);
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

  asio::posix::basic_stream_descriptor<asio::io_context::executor_type> descriptor_;
  bool timed_out_ = false;
};

awaitable<UniqueFd> connect_unix(asio::io_context& context, const UnixEndpoint& endpoint,
                                 std::int64_t deadline) {
  const auto& path = endpoint.path;
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
    co_await timer.async_wait(kAsTuple);
    pause = std::min(pause * 2, kLongestBacklogPause);
  }
}

awaitable<UniqueFd> connect_tcp(asio::io_context& context, const TcpEndpoint& endpoint,
                                std::int64_t deadline) {
  std::vector<asio::ip::tcp::endpoint> targets;
  error_code error;
  if (const auto literal = asio::ip::make_address(endpoint.host, error); !error) {
    targets.emplace_back(literal, endpoint.port);
  } else {
    const std::chrono::milliseconds left(std::max<std::int64_t>(0, deadline - Deadlines::now()));
    const auto found = co_await Names::of(context).find(endpoint.host, left);
    if (!found) {
      log::debug("upstream: {}", found.error().message);
      co_return UniqueFd();
    }
    for (const auto& address : *found) {
      targets.emplace_back(address, endpoint.port);
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

}  // namespace

Result<std::unique_ptr<Connector>> Connector::create(const UpstreamOptions& options) {
  std::unique_ptr<Connector> connector(new Connector(options));
  if (auto read = connector->reload_tls(); !read) {
    return tl::make_unexpected(std::move(read.error()));
  }
  return connector;
}

Status Connector::reload_tls() {
  if (!tls_options_) {
    return {};
  }
  auto tls = tls_client(*tls_options_);
  if (!tls) {
    return tl::make_unexpected(std::move(tls.error()));
  }
  tls_.set(std::make_shared<const std::unique_ptr<asio::ssl::context>>(*std::move(tls)));
  return {};
}

awaitable<ConnectionPtr> Connector::connect(asio::io_context& context,
                                            std::int64_t deadline) const {
  const std::int64_t soon = std::min(deadline, Deadlines::now() + longest_.count());
  UniqueFd fd;
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint_)) {
    fd = co_await connect_unix(context, *local, soon);
  } else {
    fd = co_await connect_tcp(context, std::get<TcpEndpoint>(endpoint_), soon);
  }
  if (!fd) {
    co_return nullptr;
  }
  const auto tls = tls_.get();
  if (!tls || std::holds_alternative<UnixEndpoint>(endpoint_)) {
    co_return std::make_unique<PlainConnection>(context, std::move(fd), body_limit_);
  }
  sockaddr_storage self{};
  socklen_t size = sizeof self;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&self), &size);
  const auto protocol = self.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4();
  auto connection = std::make_unique<TlsConnection>(
      context, TlsConnection::Socket(context, protocol, fd.release()), **tls, body_limit_);
  connection->begin(soon, false);
  if (!co_await connection->handshake(std::get<TcpEndpoint>(endpoint_).host, verify_)) {
    co_return nullptr;
  }
  co_return connection;
}

}  // namespace metatap::http
