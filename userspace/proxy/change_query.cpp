// SPDX-License-Identifier: Apache-2.0
#include "proxy/change_query.hpp"

#include <charconv>

#include "base/ascii.hpp"
#include "base/text.hpp"

namespace metatap::proxy {
namespace {

constexpr std::string_view kWaitKey = "wait_for_change", kLastKey = "last_etag",
                           kTimeoutKey = "timeout_sec";

std::optional<std::chrono::seconds> seconds_of(std::string_view text) {
  constexpr unsigned long kAsGoodAsForever = 1'000'000'000;
  unsigned long count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return std::chrono::seconds(std::min(count, kAsGoodAsForever));
}

}  // namespace

tl::expected<std::optional<ChangeQuery>, std::string_view> ChangeQuery::of(
    std::string_view target) {
  const auto mark = target.find('?');
  if (mark == std::string_view::npos || target.find(kWaitKey, mark) == std::string_view::npos) {
    return std::nullopt;
  }
  ChangeQuery query;
  bool said = false;
  char before = '?';
  query.target = target.substr(0, mark);
  for (auto rest = target.substr(mark + 1); !rest.empty();) {
    const auto part = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const auto name = part.substr(0, part.find('='));
    const auto value = part.substr(std::min(part.size(), name.size() + 1));
    if (name == kWaitKey) {
      if (!iequals(value, "true") && !iequals(value, "false")) {
        return tl::make_unexpected("wait_for_change is true or false");
      }
      said = true;
      query.wait = iequals(value, "true");
    } else if (name == kLastKey) {
      query.last_etag = percent_decoded(value, StrayPercent::keep);
    } else if (name == kTimeoutKey) {
      if (query.timeout = seconds_of(value); !query.timeout) {
        return tl::make_unexpected("timeout_sec is a number of seconds");
      }
    } else {
      query.target += before;
      query.target += part;
      before = '&';
    }
  }
  return said ? std::optional(std::move(query)) : std::nullopt;
}

}  // namespace metatap::proxy
