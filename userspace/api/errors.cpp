// SPDX-License-Identifier: Apache-2.0
#include "api/errors.hpp"

namespace metatap::api {

Response error_response(const Request& request, unsigned status, std::string_view message) {
  return request.method == "OPTIONS" ? Response() : http::error_page(request, status, message);
}

Response unavailable_response(const Request& request) {
  constexpr auto kRetryAfter = "5";  // seconds
  auto response = error_response(
      request, 503, "The server is currently unavailable. Please try again at a later time.");
  if (response.status == 503) {
    response.headers.emplace_back("Retry-After", kRetryAfter);
  }
  return response;
}

}  // namespace metatap::api
