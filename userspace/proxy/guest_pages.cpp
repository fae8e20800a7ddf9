// SPDX-License-Identifier: Apache-2.0
#include "proxy/guest_pages.hpp"

#include <string>
#include <utility>

#include "base/path.hpp"
#include "http/deadlines.hpp"
#include "http/error_page.hpp"
#include "http/response_writer.hpp"
#include "ledger/record.hpp"

namespace metatap::proxy {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kRoot = "/metatap";
constexpr std::string_view kStatus = "/metatap/v1/status", kAccess = "/metatap/v1/access";

Json rate_json(const RateLimit::Rule& rule, std::uint64_t used) {
  return {{"window_s", std::chrono::duration<double>(rule.window).count()},
          {"requests", rule.requests},
          {"left", used < rule.requests ? rule.requests - used : 0}};
}

Json budget_json(const GuestView& guest) {
  const ProxyOptions& options = guest.options;
  Json budget{
      {"connections", guest.load.connections.load()},
      {"most_connections", guest.port.connections().value_or(options.max_connections_per_port)},
      {"waiting", guest.load.waiting.load()},
      {"most_waiting", options.long_poll.most_of_port},
      {"rate_limit", nullptr}};
  if (const RateLimit& limit = options.rate_limit; limit.enabled) {
    const auto used = guest.load.rate.used(limit, http::Deadlines::now());
    budget["rate_limit"] = {{"base", rate_json(limit.base, used.base)},
                            {"burst", rate_json(limit.burst, used.burst)}};
  }
  return budget;
}

Json status_json(const GuestView& guest) {
  const AccessStatus status = guest.port.status();
  const auto& patterns = guest.options.access.sealed;
  const bool sealed = status.access.sealed && !patterns.empty();
  return {{"access", access_json(status)},
          {"sealed", sealed ? Json(patterns) : Json::array()},
          {"sealed_now", sealed && status.window_left.count() == 0},
          {"read_once", guest.port.once()->given()},
          {"budget", budget_json(guest)}};
}

Json recent_json(const RecentAnswers::List& recent) {
  auto answers = Json::array();
  for (const auto& answer : recent.answers) {
    Json one;
    one["time"] = ledger::time_text(answer.at);
    ledger::describe(one, answer);
    answers.push_back(std::move(one));
  }
  return {{"since", ledger::time_text(recent.since)},
          {"older", recent.older},
          {"answers", std::move(answers)}};
}

Response shown(const Json& page) {
  Response response;
  response.content_type = http::kJson;
  response.body = Body(page.dump() + "\n");
  return response;
}

}  // namespace

bool is_guest_page(std::string_view target) {
  if (target.find('%') == std::string_view::npos &&
      target.find(kRoot.substr(1)) == std::string_view::npos) {
    return false;  // as almost always
  }
  const auto path = canonical_path(target);
  return path == kRoot || path.starts_with(std::string(kRoot) + '/');
}

OwnAnswer guest_page(const Request& request, const GuestView& guest) {
  const auto path = canonical_path(request.target);
  const bool status = path == kStatus;
  if (!status && path != kAccess) {
    return {http::plain_response(404, "there are /metatap/v1/status and /metatap/v1/access"),
            "own_page"};
  }
  if (request.method != "GET") {
    auto response = http::plain_response(405, "this can only be read");
    response.headers.emplace_back("Allow", "GET");
    return {std::move(response), "own_page"};
  }
  if (guest.port.port_id().empty()) {
    return {http::plain_response(404, "this address is no port's"), "own_page"};
  }
  if (!status && guest.options.ledger.directory.empty()) {
    return {http::plain_response(404, "what was read is not kept: there is no [proxy] ledger"),
            "own_page"};
  }
  return {shown(status ? status_json(guest) : recent_json(guest.port.recent().list())), "own_page"};
}

Json access_json(const AccessStatus& status) {
  Json json{{"tokens", name_of(status.access.tokens)},
            {"required_now", status.required},
            {"boot_window_left_s", status.window_left.count()},
            {"first_token_ago_s", status.first_token ? Json(status.first_token->count()) : Json()}};
  each(status.counts,
       [&](const CounterInfo& counter, std::uint64_t value) { json[counter.name] = value; });
  return json;
}

}  // namespace metatap::proxy
