// SPDX-License-Identifier: Apache-2.0
#include "api/health_check.hpp"

#include "base/path.hpp"
#include "http/error_page.hpp"

namespace metatap::api {

std::optional<Response> HealthCheck::handle(const Request& request, boost::asio::io_context& here,
                                            Continuation& then) {
  constexpr std::string_view kPath = "/healthcheck";
  // The first look spares every other request the work of the second.
  if (request.target.find(kPath) == std::string_view::npos ||
      canonical_path(request.target) != kPath) {
    return api_.ask(request, here, then);
  }
  Response response;
  response.content_type = http::kTextPlain;
  if (request.method == "HEAD") {
    response.status = 204;
  } else {
    response.body = Body("OK");
  }
  return response;
}

}  // namespace metatap::api
