// SPDX-License-Identifier: Apache-2.0
#include "agent/error_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <charconv>
#include <string>

#include "base/text.hpp"

namespace metatap::agent {
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
    Standard{500, "Internal Server Error",
             "The server has either erred or is incapable of performing the requested operation."},
    Standard{502, "Bad Gateway", "Bad gateway."},
    Standard{503, "Service Unavailable",
             "The server is currently unavailable. Please try again at a later time."},
    Standard{504, "Gateway Timeout", "The gateway has timed out."},
};

enum class Form { plain, html, json };

/// How much the Accept header wants a type: the quality in its most exact matching range.
double wanted(std::string_view accept, std::string_view type) {
  double quality = 0;
  int exactness = -1;
  while (!accept.empty()) {
    const auto comma = accept.find(',');
    auto item = accept.substr(0, comma);
    accept.remove_prefix(comma == std::string_view::npos ? accept.size() : comma + 1);
    const auto semicolon = item.find(';');
    const auto range = trimmed(item.substr(0, semicolon));
    int match = -1;
    if (boost::algorithm::iequals(range, type)) {
      match = 2;
    } else if (range.ends_with("/*") && range != "*/*" &&
               boost::algorithm::istarts_with(type, range.substr(0, range.size() - 1))) {
      match = 1;
    } else if (range == "*/*") {
      match = 0;
    }
    if (match <= exactness) {
      continue;
    }
    exactness = match;
    quality = 1;
    if (semicolon != std::string_view::npos) {
      const auto parameter = trimmed(item.substr(semicolon + 1));
      if (parameter.starts_with("q=")) {
        std::from_chars(parameter.data() + 2, parameter.data() + parameter.size(), quality);
      }
    }
  }
  return quality;
}

Form form_for(const Request& request) {
  const auto accept = request.header("Accept");
  if (!accept || trimmed(*accept).empty()) {
    return Form::plain;
  }
  const double html = wanted(*accept, "text/html");
  const double json = wanted(*accept, "application/json");
  if (html > 0 && html >= json) {
    return Form::html;
  }
  return json > 0 ? Form::json : Form::plain;
}

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      default:
        html += c;
    }
  }
  return html;
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
    response.content_type = "text/html; charset=UTF-8";
    return response;
  }
  switch (form_for(request)) {
    case Form::plain:
      response.content_type = "text/plain; charset=UTF-8";
      response.body = Body(fmt::format("{}\n\n{}\n\n   ", line, message));
      break;
    case Form::html:
      response.content_type = "text/html; charset=UTF-8";
      response.body = Body(
          fmt::format("<html>\n <head>\n  <title>{0}</title>\n </head>\n <body>\n  <h1>{0}</h1>\n  "
                      "{1}<br /><br />\n\n\n\n </body>\n</html>",
                      line, escaped(message)));
      break;
    case Form::json:
      // Our own messages: nothing in them needs escaping.
      response.content_type = "application/json";
      response.body =
          Body(fmt::format(R"({{"message": "{}<br /><br />\n\n\n", "code": "{}", "title": "{}"}})",
                           message, line, title));
      break;
  }
  return response;
}

}  // namespace metatap::agent
