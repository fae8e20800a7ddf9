// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_client.hpp"

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <iterator>
#include <span>

#include "base/log.hpp"
#include "base/text.hpp"
#include "base/url.hpp"
#include "http/coroutine.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr int kMostPages = 1000;
constexpr std::size_t kMostPorts = 10'000;  ///< of one question; those that make sense have a few
constexpr std::size_t kLargestAnswer = std::size_t{8} << 20U;
constexpr auto kRenewBefore = 60s;

std::string find_header(const Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (boost::algorithm::iequals(key, name)) {
      return value;
    }
  }
  return "";
}

Result<std::unique_ptr<http::Upstream>> upstream_to(const ServiceUrl& url,
                                                    const NeutronOptions& options) {
  http::UpstreamOptions upstream;
  upstream.endpoint = http::TcpEndpoint{url.host, url.port};
  if (url.tls) {
    http::TlsOptions tls;
    tls.ca_file = options.cafile;
    tls.client_cert = options.certfile;
    tls.client_key = options.keyfile;
    tls.insecure = options.insecure;
    upstream.tls = std::move(tls);
  }
  upstream.deadline = options.timeout;
  upstream.connect = options.timeout;
  upstream.max_response = kLargestAnswer;
  upstream.pass_headers.emplace_back("X-Subject-Token");
  return http::Upstream::create(std::move(upstream));
}

}  // namespace

Result<ServiceUrl> ServiceUrl::parse(std::string_view text) {
  auto url = Url::parse(text);
  if (!url) {
    return tl::make_unexpected(std::move(url.error()));
  }
  std::string_view path = url->target;
  path = path.substr(0, path.find('?'));
  while (path.ends_with('/')) {
    path.remove_suffix(1);
  }
  return ServiceUrl{
      .tls = url->tls, .host = std::move(url->host), .path = std::string(path), .port = url->port};
}

NeutronClient::NeutronClient(NeutronOptions options, ServiceUrl keystone_url,
                             std::unique_ptr<http::Upstream> keystone)
    : options_(std::move(options)),
      keystone_url_(std::move(keystone_url)),
      keystone_(std::move(keystone)) {}

Result<std::unique_ptr<NeutronClient>> NeutronClient::create(NeutronOptions options) {
  if (options.without_keystone) {
    std::unique_ptr<NeutronClient> client(new NeutronClient(std::move(options), {}, nullptr));
    auto session = client->session_at(client->options_.endpoint_override, "",
                                      std::chrono::system_clock::time_point::max());
    if (!session) {
      return tl::make_unexpected(std::move(session.error()).in("[neutron] endpoint_override"));
    }
    client->session_ = *std::move(session);
    return client;
  }
  auto url = ServiceUrl::parse(options.auth_url);
  if (!url) {
    return tl::make_unexpected(std::move(url.error()).in("[neutron] auth_url"));
  }
  if (!url->path.ends_with("/v3")) {
    url->path += "/v3";
  }
  if (!options.endpoint_override.empty()) {
    if (auto endpoint = ServiceUrl::parse(options.endpoint_override); !endpoint) {
      return tl::make_unexpected(std::move(endpoint.error()).in("[neutron] endpoint_override"));
    }
  }
  auto keystone = upstream_to(*url, options);
  if (!keystone) {
    return tl::make_unexpected(std::move(keystone.error()).in("Keystone"));
  }
  return std::unique_ptr<NeutronClient>(
      new NeutronClient(std::move(options), std::move(*url), std::move(*keystone)));
}

std::string NeutronClient::who() const {
  if (options_.without_keystone) {
    return "whoever has no token (auth_type = none)";
  }
  if (options_.application_credential) {
    return "application credential '" +
           (options_.application_credential_id.empty() ? options_.application_credential_name
                                                       : options_.application_credential_id) +
           "'";
  }
  return "user '" + (options_.username.empty() ? options_.user_id : options_.username) +
         "' in project '" +
         (options_.project_name.empty() ? options_.project_id : options_.project_name) + "'";
}

std::string NeutronClient::credentials() const {
  const auto domain = [](const std::string& id, const std::string& name) {
    json object = json::object();
    if (!id.empty()) {
      object["id"] = id;
    } else {
      object["name"] = name.empty() ? "Default" : name;
    }
    return object;
  };
  json user = json::object();
  if (!options_.user_id.empty()) {
    user["id"] = options_.user_id;
  } else if (!options_.username.empty()) {
    user["name"] = options_.username;
    user["domain"] = domain(options_.user_domain_id, options_.user_domain_name);
  }
  json auth = json::object();
  if (options_.application_credential) {
    json credential = json::object();
    if (!options_.application_credential_id.empty()) {
      credential["id"] = options_.application_credential_id;
    } else {
      credential["name"] = options_.application_credential_name;
      credential["user"] = user;
    }
    credential["secret"] = options_.application_credential_secret;
    auth["identity"]["methods"] = json::array({"application_credential"});
    auth["identity"]["application_credential"] = credential;
  } else {
    user["password"] = options_.password;
    auth["identity"]["methods"] = json::array({"password"});
    auth["identity"]["password"]["user"] = user;
    json project = json::object();
    if (!options_.project_id.empty()) {
      project["id"] = options_.project_id;
    } else {
      project["name"] = options_.project_name;
      project["domain"] = domain(options_.project_domain_id, options_.project_domain_name);
    }
    auth["scope"]["project"] = project;
  }
  json request = json::object();
  request["auth"] = auth;
  return request.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<NeutronClient::SessionPtr> NeutronClient::session_from(const Response& response) {
  const auto where = "Keystone at " + options_.auth_url;
  switch (response.status) {
    case 200:
    case 201:
      break;
    case 401:
      return fail(ErrorCode::denied,
                  where + " refuses " + who() +
                      (options_.application_credential ? ": check application_credential_secret"
                                                       : ": check username, password and domains"));
    case 403:
      return fail(ErrorCode::denied, where + " forbids " + who() + " to sign in");
    case 404:
      return fail(ErrorCode::invalid, where + " has no " + keystone_url_.path + "/auth/tokens");
    case 502:
    case 503:
    case 504:
      return fail(ErrorCode::unavailable,
                  where + " cannot be asked (" + std::to_string(response.status) + ")");
    default:
      return fail(ErrorCode::unavailable,
                  where + " answered with status " + std::to_string(response.status));
  }
  const auto subject_token = find_header(response, "X-Subject-Token");
  const auto token =
      read_token(response.body.str(), options_.valid_interfaces, options_.region_name);
  if (subject_token.empty() || !token) {
    return fail(ErrorCode::invalid, where + " gave no token");
  }
  const auto now = std::chrono::system_clock::now();
  const auto expires = token->expires.value_or(now + 5min);
  const auto renew_at = std::max(expires - kRenewBefore, now + (expires - now) / 2);
  const auto& url =
      options_.endpoint_override.empty() ? token->endpoint : options_.endpoint_override;
  if (url.empty()) {
    return fail(
        ErrorCode::invalid,
        where + " names no network endpoint" +
            (options_.region_name.empty() ? "" : " in region '" + options_.region_name + "'"));
  }
  auto session = session_at(url, subject_token, renew_at);
  return session ? session
                 : tl::make_unexpected(std::move(session.error()).in("Neutron's endpoint"));
}

/// Of Neutron at that URL; its connections outlive the token.
Result<NeutronClient::SessionPtr> NeutronClient::session_at(
    const std::string& url, std::string token, std::chrono::system_clock::time_point renew_at) {
  const auto parsed = ServiceUrl::parse(url);
  if (!parsed) {
    return tl::make_unexpected(parsed.error());
  }
  auto session = std::make_shared<Session>();
  session->token = std::move(token);
  session->renew_at = renew_at;
  session->path = parsed->path.ends_with("/v2.0") ? parsed->path : parsed->path + "/v2.0";
  const std::scoped_lock lock(mutex_);
  if (!neutron_ || neutron_url_ != url) {
    auto upstream = upstream_to(*parsed, options_);
    if (!upstream) {
      return tl::make_unexpected(std::move(upstream.error()).in("Neutron"));
    }
    neutron_ = std::move(*upstream);
    neutron_url_ = url;
  }
  session->neutron = neutron_;
  return session;
}

boost::asio::awaitable<Result<NeutronClient::SessionPtr>> NeutronClient::authenticate() {
  const auto target = keystone_url_.path + "/auth/tokens";
  const auto body = credentials();
  const std::array<Header, 2> headers{Header{"Content-Type", "application/json"},
                                      Header{"Accept", "application/json"}};
  Request request;
  request.method = "POST";
  request.target = target;
  request.headers = headers;
  request.body = body;
  request.peer = &kOurselves;
  const auto response = co_await http::co_ask(*keystone_, request);
  co_return session_from(response);
}

/// A session that is not the refused one; signing in happens once for all who wait.
boost::asio::awaitable<Result<NeutronClient::SessionPtr>> NeutronClient::session(
    SessionPtr refused) {
  std::shared_ptr<http::Flight<Result<SessionPtr>>> flight;
  bool ours = false;
  {
    const std::scoped_lock lock(mutex_);
    if (session_ && session_ != refused && std::chrono::system_clock::now() < session_->renew_at) {
      co_return session_;
    }
    if (!signing_in_) {
      signing_in_ = std::make_shared<http::Flight<Result<SessionPtr>>>();
      ours = true;
    }
    flight = signing_in_;
  }
  if (!ours) {
    co_return co_await flight->wait();
  }
  auto made = co_await authenticate();
  {
    const std::scoped_lock lock(mutex_);
    session_ = made ? *made : nullptr;
    signing_in_.reset();
  }
  flight->land(made);
  co_return made;
}

boost::asio::awaitable<Result<PortPage>> NeutronClient::page(const std::string& path_and_query) {
  SessionPtr refused;
  for (;;) {
    auto current = co_await session(refused);
    if (!current) {
      co_return tl::make_unexpected(std::move(current.error()));
    }
    const Session& here = **current;
    const auto target =
        path_and_query.starts_with('/') ? path_and_query : here.path + "/" + path_and_query;
    const std::array<Header, 2> headers{Header{"Accept", "application/json"},
                                        Header{"X-Auth-Token", here.token}};
    Request request;
    request.target = target;
    request.headers = std::span(headers).first(here.token.empty() ? 1 : 2);
    request.peer = &kOurselves;
    const auto response = co_await http::co_ask(*here.neutron, request);
    if (response.status == 401 && !refused && keystone_) {
      refused = *current;  // revoked before its time
      continue;
    }
    if (response.status == 200) {
      co_return read_ports(response.body.str());
    }
    const auto status = std::to_string(response.status);
    if (response.status == 400 || response.status == 404) {
      co_return fail(ErrorCode::invalid, "Neutron refuses the question (" + status + ")");
    }
    if (response.status == 401 || response.status == 403) {
      co_return fail(ErrorCode::denied, "Neutron forbids " + who() + " to list ports (" + status +
                                            "): the credential needs a role that sees all ports");
    }
    co_return fail(ErrorCode::unavailable, "Neutron cannot be asked (" + status + ")");
  }
}

boost::asio::awaitable<Result<std::vector<json>>> NeutronClient::ports(const Query& query) {
  std::string target = "ports";
  for (const auto& [key, value] : query) {
    target +=
        (target.size() == 5 ? "?" : "&") + percent_encoded(key) + "=" + percent_encoded(value);
  }
  std::vector<json> all;
  for (int n = 0; n < kMostPages && !target.empty(); ++n) {
    auto answer = co_await page(target);
    if (!answer) {
      co_return tl::make_unexpected(std::move(answer.error()));
    }
    if (all.size() + answer->ports.size() > kMostPorts) {
      co_return fail(ErrorCode::unavailable, "Neutron's answer has no end");
    }
    std::ranges::move(answer->ports, std::back_inserter(all));
    target = std::move(answer->next);
  }
  co_return all;
}

}  // namespace metatap::agent
