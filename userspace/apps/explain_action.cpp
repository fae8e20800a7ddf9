// SPDX-License-Identifier: Apache-2.0
#include "apps/explain_action.hpp"

#include <algorithm>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "admin/port_actions.hpp"
#include "agent/endpoints.hpp"
#include "apps/explanation.hpp"
#include "http/coroutine.hpp"
#include "http/upstream.hpp"
#include "proxy/rebuilt_request.hpp"

namespace metatap::apps {
namespace {

namespace asio = boost::asio;
using admin::Json;
using namespace std::chrono_literals;

constexpr auto kPatience = 5s;  ///< with a stage in another process
constexpr std::string_view kTarget = "/latest/meta-data/instance-id";

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// One explanation under way.
class Explaining {
 public:
  Explaining(const Settings& settings, ExplainedStages stages, admin::PortInQuestion asked)
      : settings_(settings), stages_(stages), asked_(std::move(asked)) {}

  /// `places`: what the data plane says of the port; null: it does not answer, or is elsewhere.
  asio::awaitable<Json> run(const Json& places);

 private:
  void explain_port();
  std::optional<Caller> explain_places(const Json& places);
  std::optional<Caller> resolve(const Json& place);
  asio::awaitable<void> ask_agent(const Request& request);
  asio::awaitable<void> ask_api(const Request& request, const Identity& identity);
  asio::awaitable<void> ask(Neighbour& neighbour, std::string_view stage,
                            http::UpstreamOptions options, const Request& request);
  void explain_tokens();
  void judge(std::string_view stage, const Response& response, std::string_view of_whom = {});

  const Settings& settings_;
  const ExplainedStages stages_;
  const admin::PortInQuestion asked_;
  Explanation told_;
};

void Explaining::explain_port() {
  const auto& port = *asked_.port;
  const auto instance = asked_.known->instances.find(port.device_id);
  auto what = "port " + port.id;
  what += instance != asked_.known->instances.end() ? " of instance " + instance->second->hostname
          : port.device_id.empty()                  ? ", of no instance"
                                                    : " of " + port.device_id;
  for (const auto& fixed : port.fixed_ips) {
    what += ", " + fixed.ip_address;
  }
  told_.good("port", std::move(what));
}

/// By the first SYN that comes through.
std::optional<Caller> Explaining::resolve(const Json& place) {
  const auto via = place.at("device").value("via", "");
  const CallerRule rule{via == "tap" ? CallerRule::By::alias : CallerRule::By::mark,
                        {via == "router" ? Path::router : Path::dhcp, place.value("place_id", "")}};
  std::optional<Caller> first;
  for (const auto& packet : place.value("packets", Json::array())) {
    const auto became = Address::parse(packet.value("became", ""));
    if (packet.value("stranger", false) || packet.value("outcome", "") != "steer" || !became ||
        !packet.value("packet", "").ends_with("SYN")) {
      continue;
    }
    auto caller = stages_.data_plane->callers()->caller_of(
        rule, {*became, packet.value("mark", 0U), place.at("device").value("ifindex", 0U)});
    const auto who = "a connection from " + became->text();
    if (!caller.origin) {
      told_.bad("proxy", who + " is nobody's for the proxy: it is reset",
                "its identity changes just now: ask again in a moment, and metatap doctor");
    } else if (caller.origin->port_id != asked_.port->id) {
      told_.bad("proxy", who + " is port " + caller.origin->port_id + "'s for the proxy",
                "this must not be: please report it with this output");
    } else {
      told_.good("proxy", who + " is this port's, at " + caller.address);
      first = first ? first : std::optional(std::move(caller));
    }
  }
  return first;
}

std::optional<Caller> Explaining::explain_places(const Json& places) {
  if (stages_.data_plane == nullptr) {
    told_.note("device", "the data plane is another process",
               "explain by that one's admin socket says what becomes of packets");
    return std::nullopt;
  }
  if (!places.is_array()) {
    told_.bad("device", "the data plane does not answer", "metatap doctor; the log");
    return std::nullopt;
  }
  if (places.empty()) {
    told_.bad("device", "no tap and no router or DHCP server of this host has this port",
              "metatap ports shows those that are here");
  }
  std::optional<Caller> first;
  for (const auto& place : places) {
    explain_device(told_, place);
    explain_packets_of(told_, place, now());
    auto caller = resolve(place);
    first = first ? first : std::move(caller);
  }
  return first;
}

void Explaining::judge(std::string_view stage, const Response& response, std::string_view of_whom) {
  if (response.status == 200) {
    told_.good(stage, "200, " + std::string(kTarget) + " is " + response.body.str());
    return;
  }
  auto meaning = meaning_of(response.status);
  if (!of_whom.empty() && response.status == 404) {
    meaning.what += ": " + std::string(of_whom);
  }
  told_.bad(stage, std::move(meaning.what), std::move(meaning.advice));
}

/// By a connection of its own, so that nothing is counted that is guests'.
asio::awaitable<void> Explaining::ask(Neighbour& neighbour, std::string_view stage,
                                      http::UpstreamOptions options, const Request& request) {
  const auto where = to_string(options.endpoint);
  options.keep_alive = false;
  options.deadline = std::min<std::chrono::milliseconds>(options.deadline, kPatience);
  const auto upstream = http::Upstream::create(std::move(options));
  if (!upstream) {
    told_.bad(stage, upstream.error().message, "metatapd --check");
    co_return;
  }
  const auto response = co_await http::co_ask(**upstream, request);
  const auto counted = (*upstream)->counters();
  neighbour.asked(counted);
  if (counted.unavailable != 0) {
    const bool shielded = &neighbour == stages_.next_api && settings_.agent.shield.enabled;
    told_.bad(stage,
              where + " cannot be reached: guests are answered " +
                  (shielded ? "what the shield remembers, else 503" : "503"),
              "start what should listen there, or correct the option that names it");
  } else {
    judge(stage, response);
  }
}

asio::awaitable<void> Explaining::ask_api(const Request& request, const Identity& identity) {
  if (stages_.next_api != nullptr) {
    co_await ask(*stages_.next_api, "api", agent::api_upstream(settings_.agent), request);
    co_return;
  }
  judge("api", stages_.api->rehearse(request), "there is no instance " + identity.instance_id);
}

asio::awaitable<void> Explaining::ask_agent(const Request& request) {
  if (stages_.next_agent != nullptr) {
    co_await ask(*stages_.next_agent, "agent and api", settings_.proxy.upstream(), request);
    co_return;
  }
  const auto found = co_await stages_.agent->rehearse(request);
  if (!found) {
    const bool unknown = found.error().code == ErrorCode::not_found;
    told_.bad("agent",
              unknown ? "404: it finds no instance by port or address"
                      : "503: its directory cannot be asked: " + found.error().message,
              unknown ? "the port's device_id must be the instance's uuid" : "metatap status");
    co_return;
  }
  told_.good("agent", "instance " + found->identity.instance_id + " of project " +
                          found->identity.project_id);
  std::vector<Header> headers;
  for (const auto& [name, value] : found->headers) {
    headers.push_back({name, value});
  }
  const Request signed_request{
      .method = "GET", .target = kTarget, .headers = headers, .body = {}, .peer = &kOurselves};
  co_await ask_api(signed_request, found->identity);
}

/// The request of a dry run shows no token.
void Explaining::explain_tokens() {
  const auto access =
      stages_.proxy != nullptr ? stages_.proxy->access().status_of(asked_.port->id) : std::nullopt;
  if (access && access->required) {
    told_.note("proxy", "this port's requests need a session token: without one they are 401",
               "cloud-init and other clients of the second version of EC2's metadata ask for one; "
               "the port's or network's tokens = optional lets others in");
  }
}

asio::awaitable<Json> Explaining::run(const Json& places) {
  explain_port();
  auto caller = explain_places(places);
  if (!caller) {
    // What the rest of the way would say to it, all the same.
    auto origin = std::make_shared<Origin>();
    origin->port_id = asked_.port->id;
    origin->network_id = asked_.port->network_id;
    const auto& fixed = asked_.port->fixed_ips;
    caller.emplace(
        Caller{std::move(origin), fixed.empty() ? "192.0.2.1" : fixed.front().ip_address});
  }
  const auto key = settings_.port_tag_key();
  proxy::RebuiltRequest rebuilt(*caller, settings_.proxy,
                                key && *key && stages_.agent == nullptr ? &**key : nullptr);
  const Request guests{
      .method = "GET", .target = kTarget, .headers = {}, .body = {}, .peer = &kOurselves};
  const auto& request = rebuilt.of(guests);
  std::string sent;
  for (const auto& header : request.headers) {
    if (header.name.starts_with("X-") && header.name != kPortSignatureHeader) {
      sent +=
          (sent.empty() ? "" : ", ") + std::string(header.name) + ": " + std::string(header.value);
    }
  }
  if (caller->address_is_guests_choice && settings_.proxy.neutron_agent) {
    told_.bad("proxy", "404: the port has no fixed address by which Neutron's agent could know it",
              "give the port a fixed address");
  } else {
    told_.good("proxy", "asks the agent in the guest's name: " + sent);
  }
  explain_tokens();
  if (stages_.agent != nullptr || stages_.next_agent != nullptr) {
    co_await ask_agent(request);
  }
  auto json = told_.json();
  json["port"] = admin::port_row(*asked_.port, *asked_.known);
  co_return json;
}

asio::awaitable<Response> explain(const admin::Registry& registry, const Settings& settings,
                                  ExplainedStages stages, Result<admin::PortInQuestion> asked) {
  if (!asked) {
    co_return admin::error_response(asked.error());
  }
  const Json places = co_await registry.elsewhere(View::explain, asked->port->id);
  Explaining explaining(settings, stages, *std::move(asked));
  const Json told = co_await explaining.run(places);
  co_return admin::json_response(told);
}

}  // namespace

void register_explain(admin::Registry& registry, const Settings& settings,
                      InventoryService& inventory, admin::ServedPorts ports,
                      ExplainedStages stages) {
  registry.add_action(
      "GET", "/v1/ports/{}/explain",
      [&registry, &settings, &inventory, ports = std::move(ports), stages](admin::Call call) {
        return explain(registry, settings, stages,
                       admin::port_in_question(inventory, ports, call.parts.at(0)));
      });
}

}  // namespace metatap::apps
