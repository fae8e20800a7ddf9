// SPDX-License-Identifier: Apache-2.0
#include "admin/request_watch.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/port_tag.hpp"

namespace metatap::admin {
namespace {

using Clock = std::chrono::steady_clock;
using Json = TraceLog::Json;

std::int64_t microseconds(Clock::duration time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
}

std::int64_t now_in_microseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// The time in the API, of the request that this thread has just put to the agent.
thread_local std::int64_t* time_in_api = nullptr;

}  // namespace

/// A request on its way. Owns itself once it has to wait.
class RequestWatch::Watched final : public Continuation {
 public:
  Watched(TraceLog& log, Before before, const Request& request, Continuation& then)
      : log_(log), before_(before), then_(then), in_api_(time_in_api) {
    if (before_ == Before::agent) {
      const auto said = [&](std::string_view name) {
        return std::string(request.header(name).value_or(""));
      };
      constexpr std::size_t kLongest = 256;
      line_ = {{"kind", "request"},           {"time", now_in_microseconds()},
               {"port", said(kPortIdHeader)}, {"source", said("X-Forwarded-For")},
               {"method", request.method},    {"path", request.target.substr(0, kLongest)}};
    }
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  static std::optional<Response> start(std::unique_ptr<Watched> watched, Handler& next,
                                       const Request& request, boost::asio::io_context& here) {
    auto* const outer = std::exchange(
        time_in_api, watched->before_ == Before::agent ? &watched->its_api_ : nullptr);
    auto response = next.ask(request, here, *watched);
    time_in_api = outer;
    if (response) {
      watched->done(*response);
    } else {
      static_cast<void>(watched.release());
    }
    return response;
  }

 private:
  void answered(Response&& response) noexcept override {
    const std::unique_ptr<Watched> self(this);
    done(response);
    then_.answered(std::move(response));
  }

  void done(const Response& response) noexcept {
    const auto took = microseconds(Clock::now() - began_);
    if (before_ == Before::api) {
      if (in_api_ != nullptr) {
        *in_api_ = took;
      }
      return;
    }
    try {
      line_["status"] = response.status;
      line_["bytes"] = response.body.size();
      line_["total_us"] = took;
      if (its_api_ >= 0) {
        line_["agent_us"] = took - its_api_;
        line_["api_us"] = its_api_;
      }
      log_.add(std::move(line_));
    } catch (const std::exception&) {
      log_.add_lost(1);
    }
  }

  TraceLog& log_;
  const Before before_;
  Continuation& then_;
  std::int64_t* const in_api_;  ///< of the line that this one is part of; it outlives this one
  std::int64_t its_api_ = -1;   ///< not asked, or not in the same breath
  const Clock::time_point began_ = Clock::now();
  Json line_;
};

std::optional<Response> RequestWatch::handle(const Request& request, boost::asio::io_context& here,
                                             Continuation& then) {
  if (!log_.wanted()) {
    return next_.ask(request, here, then);
  }
  return Watched::start(std::make_unique<Watched>(log_, before_, request, then), next_, request,
                        here);
}

}  // namespace metatap::admin
