// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "metatap/exchange.hpp"

namespace metatap::api {

/// In front of the API where it has a port of its own: /healthcheck is answered 200 (HEAD: 204), as
/// by oslo.middleware's healthcheck, for load balancers; everything else goes on. It says that
/// requests are read and answered, nothing of the inventory. `api` outlives it.
class HealthCheck final : public Handler {
 public:
  explicit HealthCheck(Handler& api) : api_(api) {}

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  Handler& api_;
};

}  // namespace metatap::api
