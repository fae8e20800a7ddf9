// SPDX-License-Identifier: Apache-2.0
#include "admin/metrics_server.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "admin/status_page.hpp"
#include "http/coroutine.hpp"
#include "http/response_writer.hpp"
#include "http/server.hpp"

namespace metatap::admin {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto kFresh = 1s;      ///< as long is what was made shown to others
constexpr auto kPatience = 15s;  ///< longer than the supervisor is given for its part

constexpr std::array<std::string_view, 6> kViews{"/metrics",   "/healthz",  "/readyz",
                                                 "/v1/status", "/v1/ports", "/v1/doctor"};

http::Limits scraper_limits() {
  http::Limits limits;
  limits.for_operator = true;
  limits.connections = 32;
  limits.body = 0;
  limits.head_within = 5s;
  limits.request = 5s;
  limits.write = 5s;
  limits.idle = 75s;  // longer than the usual time between two scrapes
  return limits;
}

/// Nothing here is to be kept, framed, or taken for something else.
void harden(Response& response) {
  response.headers.emplace_back("Cache-Control", "no-store");
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.headers.emplace_back("X-Frame-Options", "DENY");
  response.headers.emplace_back("Cross-Origin-Resource-Policy", "same-origin");
  response.headers.emplace_back("Referrer-Policy", "no-referrer");
}

}  // namespace

class MetricsServer::Impl final : public http::CoroutineHandler {
 public:
  Impl(http::Workers& workers, asio::any_io_executor control, const Registry& registry)
      : control_(std::move(control)),
        registry_(registry),
        server_(workers, *this, scraper_limits()) {}

  [[nodiscard]] http::Server& server() { return server_; }

 private:
  /// What was made last of one view. Control thread.
  struct Kept {
    explicit Kept(const asio::any_io_executor& control) : made(control) {}
    std::optional<Response> response;
    steady_clock::time_point at;
    bool being_made = false;
    asio::steady_timer made;  ///< whoever finds it being made waits for that
  };

  asio::awaitable<Response> respond(const Request& request) override {
    const auto path = request.target.substr(0, request.target.find('?'));
    if (request.method != "GET" && request.method != "HEAD") {
      auto refused = http::plain_response(405, "nothing can be changed here");
      refused.headers.emplace_back("Allow", "GET, HEAD");
      co_return refused;
    }
    if (path == "/") {
      auto page = status_page();
      harden(page);
      co_return page;
    }
    if (std::ranges::find(kViews, path) == kViews.end()) {
      co_return http::plain_response(404);
    }
    auto look = view(std::string(path));
    auto seen = co_await asio::co_spawn(control_, std::move(look), asio::use_awaitable);
    harden(seen);
    co_return seen;
  }

  asio::awaitable<Response> view(std::string path) {
    auto& place = kept_[path];
    if (!place) {
      place = std::make_shared<Kept>(control_);
    }
    const auto kept = place;
    if (kept->being_made) {
      co_await kept->made.async_wait(asio::as_tuple(asio::use_awaitable));
      co_return kept->response ? *kept->response : http::busy_response("it is being made");
    }
    if (!kept->response || steady_clock::now() - kept->at >= kFresh) {
      const Making making(kept);
      Call call;
      call.method = "GET";
      call.path = std::move(path);
      kept->response = co_await registry_.run(std::move(call));
      kept->at = steady_clock::now();
    }
    co_return *kept->response;
  }

  /// Over at the end, also when nothing came of it.
  class Making {
   public:
    explicit Making(std::shared_ptr<Kept> kept) : kept_(std::move(kept)) {
      kept_->being_made = true;
      kept_->made.expires_after(kPatience);
    }
    Making(const Making&) = delete;
    Making& operator=(const Making&) = delete;
    ~Making() {
      kept_->being_made = false;
      kept_->made.cancel();
    }

   private:
    const std::shared_ptr<Kept> kept_;
  };

  asio::any_io_executor control_;
  const Registry& registry_;
  std::map<std::string, std::shared_ptr<Kept>> kept_;  // control thread
  http::Server server_;
};

MetricsServer::MetricsServer(http::Workers& workers, asio::any_io_executor control,
                             const Registry& registry)
    : impl_(std::make_unique<Impl>(workers, std::move(control), registry)) {}

MetricsServer::~MetricsServer() {
  stop();
}

Status MetricsServer::listen(const UniqueFd& listening, const std::string& name) {
  return impl_->server().listen(listening, name);
}

void MetricsServer::stop() {
  impl_->server().stop({});
}

}  // namespace metatap::admin
