// SPDX-License-Identifier: Apache-2.0
#include "http/response_writer.hpp"

#include <array>
#include <boost/beast/http/status.hpp>
#include <charconv>
#include <cstdio>
#include <ctime>

#include "base/ascii.hpp"

namespace metatap::http {
namespace {

void append_number(std::string& out, std::size_t number) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

/// "Date: Sat, 21 Nov 2026 01:02:03 GMT\r\n" (RFC 9110 §6.6.1), made once a second.
std::string_view date_line() {
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  static thread_local std::array<char, 64> line;
  static thread_local std::size_t size = 0;
  static thread_local time_t made = -1;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != made) {
    made = now.tv_sec;
    tm parts{};
    ::gmtime_r(&made, &parts);
    size = static_cast<std::size_t>(
        std::snprintf(line.data(), line.size(), "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n",
                      kDays[parts.tm_wday], parts.tm_mday, kMonths[parts.tm_mon],
                      parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec));
  }
  return {line.data(), size};
}

}  // namespace

std::string_view reason_phrase(unsigned status) {
  const auto reason =
      boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(status));
  return {reason.data(), reason.size()};
}

void write_head(std::string& out, const Response& response, HeadOptions options) {
  if (response.status == 200) {
    out += "HTTP/1.1 200 OK\r\n";
  } else {
    out += "HTTP/1.1 ";
    append_number(out, response.status);
    out += ' ';
    out += reason_phrase(response.status);
    out += "\r\n";
  }
  out += date_line();
  if (!response.content_type.empty() && single_line(response.content_type)) {
    out += "Content-Type: ";
    out += response.content_type;
    out += "\r\n";
  }
  for (const auto& [name, value] : response.headers) {
    if (single_line(name) && single_line(value)) {
      out += name;
      out += ": ";
      out += value;
      out += "\r\n";
    }
  }
  // With 304 it would be the length of what the client has already.
  const bool without_body = response.status == 204 || response.status == 304;
  if (response.status >= 200 && (!without_body || response.content_length)) {
    out += "Content-Length: ";
    append_number(out, response.content_length.value_or(response.body.size()));
    out += "\r\n";
  }
  if (!options.keep_alive) {
    out += "Connection: close\r\n";
  } else if (options.http_1_0) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
}

Response plain_response(unsigned status, std::string_view detail) {
  std::string text = std::to_string(status);
  text += ' ';
  text += reason_phrase(status);
  if (!detail.empty()) {
    text += ": ";
    text += detail;
  }
  text += '\n';
  Response response;
  response.status = status;
  response.content_type = "text/plain; charset=UTF-8";
  response.body = Body(std::move(text));
  return response;
}

Response busy_response(std::string_view detail) {
  auto response = plain_response(503, detail);
  response.headers.emplace_back("Retry-After", "1");
  response.close = true;
  return response;
}

}  // namespace metatap::http
