// SPDX-License-Identifier: Apache-2.0
#include "api/errors.hpp"

namespace metatap::api {

Response error_response(const Request& request, unsigned status, std::string_view message) {
  return request.method == "OPTIONS" ? Response() : http::error_page(request, status, message);
}

}  // namespace metatap::api
