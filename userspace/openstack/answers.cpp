// SPDX-License-Identifier: Apache-2.0
#include "openstack/answers.hpp"

#include <algorithm>
#include <ctime>
#include <type_traits>
#include <utility>

#include "base/json_text.hpp"

namespace metatap::openstack {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using Time = std::chrono::system_clock::time_point;

/// The clock counts nanoseconds, from 1970 until the year 2262: a time beyond is its first or last.
/// nullopt: it is not as `format` has it.
std::optional<Time> parse_time(const std::string& text, const char* format) {
  std::tm time{};
  if (strptime(text.c_str(), format, &time) == nullptr) {
    return std::nullopt;
  }
  constexpr auto kLast = std::chrono::floor<std::chrono::seconds>(Time::max().time_since_epoch());
  const std::chrono::seconds since(timegm(&time));
  return Time(std::clamp(since, std::chrono::seconds(0), kLast));
}

/// Path and query of a link that a service gave for the next page. It goes to the service's own
/// host, whatever host the link names: behind a proxy that is often another.
std::string origin_form(const std::string& href) {
  const auto scheme = href.find("://");
  if (scheme == std::string::npos) {
    return href;
  }
  const auto path = href.find('/', scheme + 3);
  return path == std::string::npos ? "/" : href.substr(path);
}

}  // namespace

std::optional<SignIn> read_sign_in(std::string_view body) {
  auto answer = json_object(body);
  if (!answer || !member(*answer, "token").is_object()) {
    return std::nullopt;
  }
  const auto& token = member(*answer, "token");
  return SignIn{.catalog = member(token, "catalog"),
                .expires = parse_time(text_of(token, "expires_at"), "%Y-%m-%dT%H:%M:%S")};
}

std::optional<Time> read_date(const std::string& text) {
  return parse_time(text, "%a, %d %b %Y %H:%M:%S GMT");
}

std::string endpoint_in(const json& catalog, std::string_view type,
                        const std::vector<std::string>& interfaces, std::string_view region) {
  for (const auto& interface : interfaces) {
    std::string url;
    for (const auto& service : catalog) {
      if (!url.empty() || text_of(service, "type") != type) {
        continue;
      }
      for (const auto& endpoint : member(service, "endpoints")) {
        auto its_region = text_of(endpoint, "region_id");
        its_region = its_region.empty() ? text_of(endpoint, "region") : its_region;
        if (text_of(endpoint, "interface") == interface &&
            (region.empty() || region == its_region)) {
          url = text_of(endpoint, "url");
        }
      }
    }
    if (!url.empty()) {
      return url;
    }
  }
  return "";
}

template <class Json>
Result<Page<Json>> read_page(std::string_view body, const std::string& key,
                             std::string_view service) {
  const auto whose = std::string(service) + "'s answer ";
  std::optional<Json> answer;
  if constexpr (std::is_same_v<Json, json>) {
    answer = json_object(body);
  } else {
    answer = ordered_json_object(body);
  }
  if (!answer) {
    return fail(ErrorCode::unavailable, whose + "is not a JSON object");
  }
  const auto found = answer->find(key);
  if (found == answer->end() || !found->is_array()) {
    return fail(ErrorCode::unavailable, whose + "has no " + key);
  }
  Page<Json> page;
  for (const auto& link : member(*answer, (key + "_links").c_str())) {
    if (page.next.empty() && text_of(link, "rel") == "next") {
      page.next = origin_form(text_of(link, "href"));
    }
  }
  page.items.assign(std::move_iterator(found->begin()), std::move_iterator(found->end()));
  return page;
}

template Result<Page<json>> read_page(std::string_view, const std::string&, std::string_view);
template Result<Page<ordered_json>> read_page(std::string_view, const std::string&,
                                              std::string_view);

}  // namespace metatap::openstack
