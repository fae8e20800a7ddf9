// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::api {

inline constexpr std::string_view kTextPlain = "text/plain; charset=UTF-8";
inline constexpr std::string_view kTextHtml = "text/html; charset=UTF-8";
inline constexpr std::string_view kJson = "application/json";

inline constexpr std::string_view kNotFoundMessage = "The resource could not be found.";
inline constexpr std::string_view kUnknownErrorMessage =
    "An unknown error has occurred. Please try your request again.";

/// An error as WebOb writes it: HTML, JSON or plain text by the request's Accept; HEAD gets
/// headers only. An OPTIONS request is answered 200 with nothing, as the CORS filter in front of
/// Nova does.
[[nodiscard]] Response error_response(const Request& request, unsigned status,
                                      std::string_view message);

/// 503 with Retry-After: what cannot be answered now, but soon.
[[nodiscard]] Response unavailable_response(const Request& request);

enum class ErrorFormat : std::uint8_t { plain, html, json };
[[nodiscard]] ErrorFormat error_format(std::string_view accept);

}  // namespace metatap::api
