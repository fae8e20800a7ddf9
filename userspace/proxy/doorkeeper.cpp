// SPDX-License-Identifier: Apache-2.0
#include "proxy/doorkeeper.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <string>
#include <utility>

#include "base/ascii.hpp"
#include "base/boot_time.hpp"
#include "base/log.hpp"
#include "http/response_writer.hpp"

namespace metatap::proxy {
namespace {

constexpr std::string_view kToken = "X-aws-ec2-metadata-token", kShortToken = "X-metadata-token";
constexpr std::string_view kIfNoneMatch = "If-None-Match";
constexpr std::string_view kLifetime = "X-aws-ec2-metadata-token-ttl-seconds",
                           kShortLifetime = "X-metadata-token-ttl-seconds";
constexpr std::string_view kPath = "/latest/api/token",
                           kHuaweisPath = "/meta-data/latest/api/token";
constexpr std::uint16_t kFirstOfAnybody = 1024;

constexpr std::string_view kHowTo =
    "PUT /latest/api/token with X-aws-ec2-metadata-token-ttl-seconds, and send what it answers as "
    "X-aws-ec2-metadata-token";

bool asks_for_token(std::string_view target) {
  target = target.substr(0, target.find('?'));
  return target == kPath || target == kHuaweisPath;
}

/// Headers in which a proxy says for whom it asks. None of a guest's own clients sends one.
bool tells_of_proxy(std::string_view name) {
  constexpr std::array<std::string_view, 10> kNames{
      "forwarded",           "via",
      "x-real-ip",           "x-client-ip",
      "x-cluster-client-ip", "x-original-forwarded-for",
      "x-originating-ip",    "x-remote-ip",
      "true-client-ip",      "cf-connecting-ip"};
  std::string plain(name);
  std::ranges::transform(plain, plain.begin(), [](char c) { return c == '_' ? '-' : lower(c); });
  return plain.starts_with("x-forwarded") || std::ranges::find(kNames, plain) != kNames.end();
}

/// Why there is no token, and the status that goes with it.
struct NoToken {
  unsigned status = 400;
  std::string_view why;
};

/// How long it is to be good, and by which name that was asked.
struct Lifetime {
  std::string_view name;
  std::chrono::seconds of{0};
};

tl::expected<Lifetime, NoToken> lifetime_of(const Request& request) {
  const std::size_t longs = request.count(kLifetime), shorts = request.count(kShortLifetime);
  if (longs + shorts != 1) {
    return tl::make_unexpected(NoToken{
        400, longs + shorts == 0 ? "X-aws-ec2-metadata-token-ttl-seconds must say for how long"
                                 : "the time it is to be good is said more than once"});
  }
  const auto name = longs == 1 ? kLifetime : kShortLifetime;
  const auto text = *request.header(name);
  long count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || text.starts_with('-') ||
      count < 1 || count > kLongestToken.count()) {
    return tl::make_unexpected(NoToken{400, "it can be good for 1 to 21600 seconds"});
  }
  return Lifetime{name, std::chrono::seconds(count)};
}

tl::expected<Lifetime, NoToken> read_token_request(const Request& request) {
  if (request.method != "PUT") {
    return tl::make_unexpected(NoToken{405, "a token is asked for by PUT"});
  }
  if (std::ranges::any_of(request.headers,
                          [](const Header& header) { return tells_of_proxy(header.name); })) {
    return tl::make_unexpected(NoToken{403, "tokens are not for who asks through a proxy"});
  }
  if (!request.body.empty()) {
    return tl::make_unexpected(NoToken{400, "a request for a token has no body"});
  }
  return lifetime_of(request);
}

}  // namespace

NotedHeaders NotedHeaders::of(const Request& request) {
  NotedHeaders noted;
  for (const auto& [name, value] : request.headers) {
    switch (name.size()) {
      case std::string_view("Accept").size():
        if (iequals(name, "Accept")) {
          noted.accept = noted.accept.value_or(value);
          ++noted.accepts;
        }
        break;
      case kIfNoneMatch.size():
        if (iequals(name, kIfNoneMatch)) {
          noted.if_none_match = value;
        }
        break;
      case kToken.size():
      case kShortToken.size():
        if (iequals(name, kToken) || iequals(name, kShortToken)) {
          noted.token = value;
          ++noted.tokens;
        }
        break;
      default:
        break;
    }
  }
  return noted;
}

std::optional<OwnAnswer> Doorkeeper::judge(const Request& request, const NotedHeaders& noted,
                                           Look look) {
  const Access access = port_.access();
  token_ = ledger::Token::unread;
  reading_.reset();
  once_.reset();
  auto own = judge_token(request, noted, access, look);
  if (!own && (once_ = port_.read_once(access, request.target)) && port_.was_read(*once_)) {
    own = refuse_to_repeat();
  }
  if (own || request.method == "HEAD") {  // which is told how long it is, and no more
    once_.reset();
  }
  return own;
}

std::optional<OwnAnswer> Doorkeeper::judge_token(const Request& request, const NotedHeaders& noted,
                                                 const Access& access, Look look) {
  if (access.tokens == TokenMode::off) {
    return judge_plain(request, access, look);
  }
  if (asks_for_token(request.target)) {
    return hand_out(request);
  }
  if (noted.tokens == 0) {
    token_ = ledger::Token::none;
    return judge_plain(request, access, look);
  }
  const auto now = boot_time();
  if (noted.tokens > 1 || !control_.keys()->opens(noted.token, port_.holder(address_), now)) {
    ++port_.counts().invalid;
    token_ = ledger::Token::invalid;
    return OwnAnswer{http::plain_response(401, "the token is not good, or not any more"),
                     "token_invalid"};
  }
  port_.counts().valid += look == Look::first ? 1 : 0;
  token_ = ledger::Token::valid;
  port_.token_shown(now);
  return std::nullopt;
}

std::optional<OwnAnswer> Doorkeeper::judge_plain(const Request& request, const Access& access,
                                                 Look look) {
  auto& counts = port_.counts();
  counts.plain.fetch_add(look == Look::first ? 1 : 0, std::memory_order_relaxed);
  const bool by_mode = access.tokens == TokenMode::required || access.tokens == TokenMode::ratchet;
  if (by_mode && port_.requires_token(access, boot_time())) {
    ++counts.plain_refused;
    return OwnAnswer{http::plain_response(401, "it takes a session token: " + std::string(kHowTo)),
                     "token_required"};
  }
  if (access.sealed && !control_.sealed().none() && source_port_ >= kFirstOfAnybody &&
      control_.sealed().cover(request.target) && !port_.in_boot_window(access, boot_time())) {
    ++counts.sealed_refused;
    std::string how = "this is sealed once the guest has booted: ask from a port below 1024";
    if (access.tokens != TokenMode::off) {
      how += ", or with a session token: " + std::string(kHowTo);
    }
    return OwnAnswer{http::plain_response(403, how), "sealed"};
  }
  return std::nullopt;
}

std::optional<OwnAnswer> Doorkeeper::give(const Response& response) {
  constexpr unsigned kFirstGood = 200, kFirstOther = 300;
  const bool gives =
      response.status >= kFirstGood && response.status < kFirstOther && response.body.size() != 0;
  if (!once_ || !gives) {
    return std::nullopt;
  }
  if (port_.was_read(*once_)) {
    return refuse_to_repeat();
  }
  if (auto reading = port_.begin_reading(*once_)) {
    reading_.emplace(*std::move(reading));
    return std::nullopt;
  }
  ++port_.counts().read_once_refused;
  return OwnAnswer{http::busy_response("this is answered once, and just now"), "read_once"};
}

void Doorkeeper::given() {
  if (reading_) {
    reading_->sent();
    reading_.reset();
  }
}

OwnAnswer Doorkeeper::refuse_to_repeat() {
  ++port_.counts().read_once_refused;
  return {http::plain_response(
              403, port_.port_id().empty()
                       ? "this is answered once, and only to addresses of a port"
                       : "this is answered once, and has been: it is again when the guest is "
                         "plugged in anew, or when the operator says so of its port"),
          "read_once"};
}

OwnAnswer Doorkeeper::hand_out(const Request& request) {
  const auto asked = read_token_request(request);
  if (!asked) {
    ++port_.counts().denied;
    auto response = http::plain_response(asked.error().status, asked.error().why);
    if (response.status == 405) {
      response.headers.emplace_back("Allow", "PUT");
    }
    return {std::move(response), "token_denied"};
  }
  const auto now = boot_time();
  const auto expires = now + std::chrono::milliseconds(asked->of).count();
  auto token = control_.keys()->seal(port_.holder(address_), expires, now);
  if (!token) {
    log::error("{}", token.error().message);
    return {http::plain_response(500), "token_denied"};
  }
  ++port_.counts().issued;
  Response response;
  response.content_type = "text/plain";
  response.headers.emplace_back(asked->name, std::to_string(asked->of.count()));
  response.body = Body(*std::move(token));
  response.hop_limit = control_.options().token_hop_limit;
  return {std::move(response), "token_issued"};
}

}  // namespace metatap::proxy
