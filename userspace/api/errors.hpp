// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "http/error_page.hpp"
#include "metatap/exchange.hpp"

namespace metatap::api {

using http::kJson;
using http::kTextHtml;
using http::kTextPlain;

inline constexpr std::string_view kUnknownErrorMessage =
    "An unknown error has occurred. Please try your request again.";

/// Nova's error page; an empty message is the status's standard sentence. An OPTIONS request is
/// answered 200 with nothing, as the CORS filter in front of Nova does.
[[nodiscard]] Response error_response(const Request& request, unsigned status,
                                      std::string_view message = {});

/// 503 with Retry-After: what cannot be answered now, but soon.
[[nodiscard]] Response unavailable_response(const Request& request);

}  // namespace metatap::api
