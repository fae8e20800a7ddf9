// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "metatap/exchange.hpp"

namespace metatap::http {

/// The standard reason phrase; "Unknown" for a status without one.
[[nodiscard]] std::string_view reason_phrase(unsigned status);

struct HeadOptions {
  bool http_1_0 = false;  ///< the client speaks HTTP/1.0
  bool keep_alive = true;
};

/// Status line and header fields, with the empty line, appended to `out`. A header with a line
/// break in it is left out: nothing a stage sets can split the response.
void write_head(std::string& out, const Response& response, HeadOptions options);

/// A short text/plain answer: "404 Not Found: <detail>\n".
[[nodiscard]] Response plain_response(unsigned status, std::string_view detail = {});

/// 503 with Retry-After, and the end of the connection: there is too much to do now.
[[nodiscard]] Response busy_response(std::string_view detail);

}  // namespace metatap::http
