// SPDX-License-Identifier: Apache-2.0
#include "admin/server.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

#include "base/text.hpp"
#include "http/coroutine.hpp"
#include "http/server.hpp"

namespace metatap::admin {

namespace asio = boost::asio;

namespace {

constexpr std::size_t kMostConnections = 64;

/// An operator may apply a large document, over a slow disk. What says nothing must not keep the
/// operator out.
http::Limits operator_limits() {
  http::Limits limits;
  limits.for_operator = true;
  limits.connections = kMostConnections;
  limits.body = std::size_t{512} << 20U;
  limits.head_within = std::chrono::seconds(5);
  limits.idle = std::chrono::seconds(5);
  limits.request = std::chrono::minutes(10);
  limits.write = std::chrono::minutes(10);
  return limits;
}

std::optional<Call> call_of(const Request& request) {
  Call call;
  call.method = request.method;
  call.body = request.body;
  call.who = request.peer->address;
  auto target = request.target;
  const auto mark = std::min(target.find('?'), target.size());
  auto query = target.substr(std::min(mark + 1, target.size()));
  call.path = target.substr(0, mark);
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const auto pair = query.substr(0, end);
    const auto equals = std::min(pair.find('='), pair.size());
    auto name = percent_decoded(pair.substr(0, equals));
    auto value = percent_decoded(pair.substr(std::min(equals + 1, pair.size())));
    if (!name || !value) {
      return std::nullopt;
    }
    call.query.emplace(*std::move(name), *std::move(value));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return call;
}

}  // namespace

class AdminServer::Impl final : public http::CoroutineHandler {
 public:
  Impl(http::Workers& workers, asio::any_io_executor control, const Registry& registry,
       AdminOptions options)
      : control_(std::move(control)),
        registry_(registry),
        options_(std::move(options)),
        server_(workers, *this, operator_limits()) {}

  Status start() {
    return server_.listen(
        // Processes of a split deployment may share a directory; the last one started answers
        // there.
        http::UnixEndpoint{options_.socket, options_.mode, options_.user, options_.group, true});
  }
  void stop() { server_.stop(std::chrono::seconds(1)); }

 private:
  asio::awaitable<Response> respond(const Request& request) override {
    auto call = call_of(request);
    if (!call) {
      co_return error_response({ErrorCode::invalid, "the query is not percent-encoded"});
    }
    auto response =
        co_await asio::co_spawn(control_, registry_.run(*std::move(call)), asio::use_awaitable);
    response.headers.emplace_back("Server", options_.version);
    co_return response;
  }

  asio::any_io_executor control_;
  const Registry& registry_;
  AdminOptions options_;
  http::Server server_;
};

AdminServer::AdminServer(http::Workers& workers, asio::any_io_executor control,
                         const Registry& registry, AdminOptions options)
    : impl_(std::make_unique<Impl>(workers, std::move(control), registry, std::move(options))) {}

AdminServer::~AdminServer() {
  stop();
}

Status AdminServer::start() {
  return impl_->start();
}
void AdminServer::stop() {
  impl_->stop();
}

}  // namespace metatap::admin
