// SPDX-License-Identifier: Apache-2.0
#include "http/error_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>

#include "http/accept.hpp"
#include "http/joined.hpp"

namespace metatap::http {
namespace {

struct Standard {
  unsigned status;
  std::string_view title, message;
};
constexpr std::array kStandard{
    Standard{400, "Bad Request",
             "The server could not comply with the request since it is either malformed or "
             "otherwise incorrect."},
    Standard{403, "Forbidden", "Access was denied to this resource."},
    Standard{404, "Not Found", "The resource could not be found."},
    Standard{409, "Conflict", "There was a conflict when trying to complete your request."},
    Standard{413, "Request Entity Too Large",
             "The body of your request was too large for this server."},
    Standard{414, "Request-URI Too Long", "The request URI was too long for this server."},
    Standard{431, "Request Header Fields Too Large", "The request header fields were too large"},
    Standard{500, "Internal Server Error",
             "The server has either erred or is incapable of performing the requested operation."},
    Standard{502, "Bad Gateway", "Bad gateway."},
    Standard{503, "Service Unavailable",
             "The server is currently unavailable. Please try again at a later time."},
    Standard{504, "Gateway Timeout", "The gateway has timed out."},
};

enum class Form { plain, html, json };

/// WebOb's choice: a malformed header counts as one that accepts everything, none as nothing. A
/// request may have several headers of the name, which are one list.
Form form_for(const Request& request) {
  const auto accept = joined(request, "Accept");
  const auto ranges = parse_accept(accept);
  if (!ranges) {
    return Form::html;
  }
  const double html = quality_of(*ranges, "text", "html");
  const double json = quality_of(*ranges, "application", "json");
  if (html > 0 && html >= json) {
    return Form::html;
  }
  return json > 0 ? Form::json : Form::plain;
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#x27;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// Messages are printable ASCII, so nothing else needs it.
std::string json_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '"' || c == '\\' ? "\\" : "";
    out += c;
  }
  return out;
}

}  // namespace

Response error_page(const Request& request, unsigned status, std::string_view message) {
  const auto* standard = std::ranges::find(kStandard, status, &Standard::status);
  const auto title = standard == kStandard.end() ? std::string_view("Error") : standard->title;
  if (message.empty() && standard != kStandard.end()) {
    message = standard->message;
  }
  const auto line = fmt::format("{} {}", status, title);
  Response response;
  response.status = status;
  if (request.method == "HEAD") {
    response.content_type = kTextHtml;
    return response;
  }
  switch (form_for(request)) {
    case Form::plain:
      response.content_type = kTextPlain;
      response.body = Body(fmt::format("{}\n\n{}\n\n   ", line, message));
      break;
    case Form::html:
      response.content_type = kTextHtml;
      response.body = Body(
          fmt::format("<html>\n <head>\n  <title>{0}</title>\n </head>\n <body>\n  <h1>{0}</h1>\n  "
                      "{1}<br /><br />\n\n\n\n </body>\n</html>",
                      line, html_escaped(message)));
      break;
    case Form::json:
      response.content_type = kJson;
      response.body =
          Body(fmt::format(R"({{"message": "{}<br /><br />\n\n\n", "code": "{}", "title": "{}"}})",
                           json_escaped(message), line, title));
      break;
  }
  return response;
}

}  // namespace metatap::http
