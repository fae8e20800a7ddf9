// SPDX-License-Identifier: Apache-2.0
#include "ledger/record.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

#include "base/boot_time.hpp"
#include "base/path.hpp"

namespace metatap::ledger {
namespace {

constexpr std::array<std::string_view, 4> kTokens{"unread", "none", "valid", "invalid"};
constexpr std::array<std::string_view, 4> kVerdicts{"answered", "refused", "failed", "cut"};

Json entry(std::string_view kind, std::int64_t at) {
  return {{"time", time_text(at)}, {"up_ms", at}, {"kind", kind}};
}

std::string text_of(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

}  // namespace

std::string_view name_of(Token token) {
  return kTokens.at(static_cast<std::size_t>(token));
}

std::string_view name_of(Verdict verdict) {
  return kVerdicts.at(static_cast<std::size_t>(verdict));
}

std::optional<Verdict> verdict_of(std::string_view name) {
  const auto* const found = std::ranges::find(kVerdicts, name);
  return found == kVerdicts.end() ? std::nullopt
                                  : std::optional(static_cast<Verdict>(found - kVerdicts.begin()));
}

std::string_view known_method(std::string_view method) {
  constexpr std::array<std::string_view, 7> kMethods{"GET",    "HEAD",    "POST", "PUT",
                                                     "DELETE", "OPTIONS", "PATCH"};
  const auto* const found = std::ranges::find(kMethods, method);
  return found == kMethods.end() ? "other" : *found;
}

PathClass known_path(std::string_view target) {
  return path_class_of(canonical_path(target));
}

std::string time_text_of_epoch(std::int64_t milliseconds) {
  constexpr std::int64_t kSecond = 1000;
  const auto part = (milliseconds % kSecond + kSecond) % kSecond;
  const std::time_t seconds = (milliseconds - part) / kSecond;
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, part);
}

std::string time_text(std::int64_t at) {
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  return time_text_of_epoch(now.count() - (boot_time() - at));
}

void describe(Json& entry, const Answer& answer) {
  entry["method"] = answer.method;
  entry["path"] = metatap::name_of(answer.path);
  entry["token"] = name_of(answer.token);
  entry["verdict"] = name_of(answer.verdict);
  entry["status"] = answer.status;
  if (!answer.reason.empty()) {
    entry["reason"] = answer.reason;
  }
  entry["bytes"] = answer.bytes;
}

std::string entry_of(const Access& access) {
  auto json = entry(kAccess, access.at);
  const Origin& origin = *access.origin;
  json["port"] = origin.port_id;
  json["instance"] = access.instance;
  json["network"] = origin.network_id;
  if (!origin.router_id.empty()) {
    json["router"] = origin.router_id;
  }
  json["address"] = access.address;
  describe(json, access);
  return text_of(json);
}

std::string entry_of(std::string_view kind, const Json& fields) {
  auto json = entry(kind, boot_time());
  json.update(fields);
  return text_of(json);
}

}  // namespace metatap::ledger
