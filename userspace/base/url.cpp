// SPDX-License-Identifier: Apache-2.0
#include "base/url.hpp"

#include <algorithm>
#include <charconv>

#include "base/ascii.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_label(std::string_view label, std::string_view more) {
  constexpr std::size_t kLongest = 63;
  return !label.empty() && label.size() <= kLongest && label.front() != '-' &&
         label.back() != '-' && std::ranges::all_of(label, [&](char c) {
           return is_digit(c) || c == '-' || (lower(c) >= 'a' && lower(c) <= 'z') ||
                  more.find(c) != std::string_view::npos;
         });
}

}  // namespace

bool is_host(std::string_view text, std::string_view more) {
  constexpr std::size_t kLongest = 253;
  if (Address::parse(text)) {
    return true;
  }
  if (text.empty() || text.size() > kLongest) {
    return false;
  }
  text.remove_suffix(text.ends_with('.') ? 1 : 0);
  for (;;) {
    const auto dot = text.find('.');
    const auto label = text.substr(0, dot);
    if (!is_label(label, more)) {
      return false;
    }
    if (dot == std::string_view::npos) {
      return !std::ranges::all_of(label, is_digit);  // a mistyped address
    }
    text.remove_prefix(dot + 1);
  }
}

Result<Url> Url::parse(std::string_view text) {
  const auto invalid = [&](std::string_view why) {
    return fail(ErrorCode::invalid, "'" + std::string(text) + "': " + std::string(why));
  };
  Url url;
  auto rest = text;
  if (istarts_with(rest, "https://")) {
    url.tls = true;
    url.port = 443;
    rest.remove_prefix(8);
  } else if (istarts_with(rest, "http://")) {
    rest.remove_prefix(7);
  } else {
    return invalid("expected a URL such as http://host:port/path");
  }
  const auto end = std::min(rest.find_first_of("/?#"), rest.size());
  url.authority = rest.substr(0, end);
  if (const auto tail = rest.substr(end, rest.find('#') - end); !tail.empty()) {
    url.target = (tail.front() == '?' ? "/" : "") + std::string(tail);
  }
  if (url.authority.find('@') != std::string::npos) {  // which is not said again: it is a secret
    return fail(ErrorCode::invalid, "user names and passwords in URLs are not supported");
  }
  std::string_view port;
  if (url.authority.starts_with('[')) {
    const auto close = url.authority.find(']');
    if (close == std::string::npos) {
      return invalid("no ']'");
    }
    url.host = url.authority.substr(1, close - 1);
    port = std::string_view(url.authority).substr(close + 1);
  } else {
    const auto colon = std::min(url.authority.find(':'), url.authority.size());
    url.host = url.authority.substr(0, colon);
    port = std::string_view(url.authority).substr(colon);
  }
  if (!is_host(url.host, "_")) {
    return invalid(url.host.empty() ? "no host" : "not a host's name or address");
  }
  if (!port.empty()) {
    const auto* const last = port.data() + port.size();
    const auto read = std::from_chars(port.data() + 1, last, url.port);
    if (port.front() != ':' || read.ec != std::errc() || read.ptr != last || url.port == 0) {
      return invalid("not a port");
    }
  }
  return url;
}

}  // namespace metatap
