// SPDX-License-Identifier: Apache-2.0
#include "api/errors.hpp"

#include <fmt/format.h>

#include <charconv>

#include "api/json.hpp"
#include "base/ascii.hpp"
#include "base/text.hpp"

namespace metatap::api {
namespace {

std::string_view title_of(unsigned status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 409:
      return "Conflict";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
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

/// The quality a list of media ranges gives a type; the most specific range decides.
double quality(std::string_view accept, std::string_view type, std::string_view subtype) {
  double best = 0;
  int specific = 0;
  while (!accept.empty()) {
    const auto comma = accept.find(',');
    auto range = accept.substr(0, comma);
    accept = comma == std::string_view::npos ? std::string_view() : accept.substr(comma + 1);
    double q = 1;
    if (const auto semicolon = range.find(';'); semicolon != std::string_view::npos) {
      if (const auto at = range.find("q=", semicolon); at != std::string_view::npos) {
        std::from_chars(range.data() + at + 2, range.data() + range.size(), q);
      }
      range = range.substr(0, semicolon);
    }
    range = trimmed(range);
    const auto slash = range.find('/');
    if (slash == std::string_view::npos) {
      continue;
    }
    const auto main = range.substr(0, slash), sub = range.substr(slash + 1);
    const int level = main == "*" && sub == "*"                      ? 1
                      : iequals(main, type) && sub == "*"            ? 2
                      : iequals(main, type) && iequals(sub, subtype) ? 3
                                                                     : 0;
    if (level > specific) {
      specific = level;
      best = q;
    }
  }
  return best;
}

}  // namespace

ErrorFormat error_format(std::string_view accept) {
  const double html = quality(accept, "text", "html");
  const double json = quality(accept, "application", "json");
  if (html <= 0 && json <= 0) {
    return ErrorFormat::plain;
  }
  return html >= json ? ErrorFormat::html : ErrorFormat::json;
}

Response error_response(const Request& request, unsigned status, std::string_view message) {
  Response response;
  if (request.method == "OPTIONS") {
    return response;
  }
  response.status = status;
  if (request.method == "HEAD") {
    response.content_type = kTextHtml;
    return response;
  }
  const std::string_view title = title_of(status);
  switch (error_format(request.header("Accept").value_or(""))) {
    case ErrorFormat::plain:
      response.content_type = kTextPlain;
      response.body = Body(fmt::format("{} {}\n\n{}\n\n   ", status, title, message));
      break;
    case ErrorFormat::html:
      response.content_type = kTextHtml;
      response.body = Body(fmt::format(
          "<html>\n <head>\n  <title>{0} {1}</title>\n </head>\n <body>\n  <h1>{0} {1}</h1>\n"
          "  {2}<br /><br />\n\n\n\n </body>\n</html>",
          status, title, html_escaped(message)));
      break;
    case ErrorFormat::json: {
      Json body = Json::object();
      body.set("message", Json::string(html_escaped(message) + "<br /><br />\n\n\n"));
      body.set("code", Json::string(fmt::format("{} {}", status, title)));
      body.set("title", Json::string(std::string(title)));
      response.content_type = kJson;
      response.body = Body(body.dump());
      break;
    }
  }
  return response;
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
