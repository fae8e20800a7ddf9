// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::http {

inline constexpr std::string_view kTextPlain = "text/plain; charset=UTF-8";
inline constexpr std::string_view kTextHtml = "text/html; charset=UTF-8";
inline constexpr std::string_view kJson = "application/json";

/// An error as WebOb writes it (webob/exc.py), which is what guests got from neutron-metadata-agent
/// and from Nova: HTML, JSON or plain text after the request's Accept header, no body for HEAD. An
/// empty message is the status's standard sentence.
[[nodiscard]] Response error_page(const Request& request, unsigned status,
                                  std::string_view message = {});

}  // namespace metatap::http
