// SPDX-License-Identifier: Apache-2.0
#include "openstack/keystone.hpp"

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <utility>

#include "base/json_text.hpp"
#include "base/url.hpp"
#include "http/coroutine.hpp"
#include "openstack/answers.hpp"

namespace metatap::openstack {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;
using Method = Access::Method;

constexpr auto kRenewBefore = 60s;

std::string find_header(const Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (boost::algorithm::iequals(key, name)) {
      return value;
    }
  }
  return "";
}

json domain(const std::string& id, const std::string& name) {
  return id.empty() ? json{{"name", name.empty() ? "Default" : name}} : json{{"id", id}};
}

json user_of(const Access& access) {
  json user = json::object();
  if (!access.user_id.empty()) {
    user["id"] = access.user_id;
  } else if (!access.username.empty()) {
    user["name"] = access.username;
    user["domain"] = domain(access.user_domain_id, access.user_domain_name);
  }
  return user;
}

json project_of(const Access& access) {
  if (!access.project_id.empty()) {
    return json{{"id", access.project_id}};
  }
  return json{{"name", access.project_name},
              {"domain", domain(access.project_domain_id, access.project_domain_name)}};
}

/// The body of a sign-in, Identity API v3.
std::string credentials(const Access& access) {
  json auth = json::object();
  json& identity = auth["identity"];
  if (access.method == Method::application_credential) {
    json credential = json::object();
    if (!access.application_credential_id.empty()) {
      credential["id"] = access.application_credential_id;
    } else {
      credential["name"] = access.application_credential_name;
      credential["user"] = user_of(access);
    }
    credential["secret"] = access.application_credential_secret;
    identity["methods"] = json::array({"application_credential"});
    identity["application_credential"] = std::move(credential);
  } else {
    if (access.method == Method::token) {
      identity["methods"] = json::array({"token"});
      identity["token"]["id"] = access.token;
    } else {
      json user = user_of(access);
      user["password"] = access.password;
      identity["methods"] = json::array({"password"});
      identity["password"]["user"] = std::move(user);
    }
    // Without a project Keystone gives a token that is of none, and no endpoints with it.
    if (!access.project_id.empty() || !access.project_name.empty()) {
      auth["scope"]["project"] = project_of(access);
    }
  }
  return json{{"auth", std::move(auth)}}.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// Of a 404: Keystone says so in JSON of a token or credential that it does not know, and in HTML
/// of a path that is not there.
bool is_of_the_credential(const Response& response) {
  const auto body = json_object(response.body.str());
  return body && member(*body, "error").is_object();
}

std::string_view what_to_check(Method method) {
  switch (method) {
    case Method::application_credential:
      return "check application_credential_secret; it may have expired, too";
    case Method::token:
      return "it may have expired";
    case Method::password:
    case Method::none:
      break;
  }
  return "check username, password, project and domains";
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

Result<std::unique_ptr<http::Upstream>> upstream_to(const ServiceUrl& url, const Access& access) {
  http::UpstreamOptions upstream;
  upstream.endpoint = http::TcpEndpoint{url.host, url.port};
  if (url.tls) {
    http::TlsOptions tls;
    tls.ca_file = access.cafile;
    tls.client_cert = access.certfile;
    tls.client_key = access.keyfile;
    tls.insecure = access.insecure;
    upstream.tls = std::move(tls);
  }
  upstream.deadline = access.timeout;
  upstream.connect = access.timeout;
  upstream.max_response = access.largest_answer;
  upstream.pass_headers.insert(upstream.pass_headers.end(), {"X-Subject-Token", "Date"});
  return http::Upstream::create(std::move(upstream));
}

Keystone::Keystone(Access access, ServiceUrl url, std::unique_ptr<http::Upstream> upstream)
    : access_(std::move(access)), url_(std::move(url)), upstream_(std::move(upstream)) {
  if (!upstream_) {
    token_ = std::make_shared<Token>(
        Token{.id = {}, .renew_at = std::chrono::system_clock::time_point::max(), .catalog = {}});
  }
}

Result<std::unique_ptr<Keystone>> Keystone::create(Access access) {
  if (access.method == Method::none) {
    return std::unique_ptr<Keystone>(new Keystone(std::move(access), {}, nullptr));
  }
  auto url = ServiceUrl::parse(access.auth_url);
  if (!url) {
    return tl::make_unexpected(std::move(url.error()).in("auth_url"));
  }
  if (!url->path.ends_with("/v3")) {
    url->path += "/v3";
  }
  auto upstream = upstream_to(*url, access);
  if (!upstream) {
    return tl::make_unexpected(std::move(upstream.error()).in("Keystone"));
  }
  return std::unique_ptr<Keystone>(
      new Keystone(std::move(access), std::move(*url), std::move(*upstream)));
}

std::string Keystone::who() const {
  switch (access_.method) {
    case Method::none:
      return "whoever has no token (auth_type = none)";
    case Method::token:
      return "the token";
    case Method::application_credential:
      return "application credential '" +
             (access_.application_credential_id.empty() ? access_.application_credential_name
                                                        : access_.application_credential_id) +
             "'";
    case Method::password:
      break;
  }
  return "user '" + (access_.username.empty() ? access_.user_id : access_.username) +
         "' in project '" +
         (access_.project_name.empty() ? access_.project_id : access_.project_name) + "'";
}

Result<TokenPtr> Keystone::token_from(const Response& response) const {
  const auto refusal = [this] {
    return fail(ErrorCode::denied,
                where() + " refuses " + who() + ": " + std::string(what_to_check(access_.method)));
  };
  switch (response.status) {
    case 200:
    case 201:
      break;
    case 401:
      return refusal();
    case 403:
      return fail(ErrorCode::denied, where() + " forbids " + who() + " to sign in");
    case 404:
      if (is_of_the_credential(response)) {
        return refusal();
      }
      return fail(ErrorCode::invalid, where() + " has no " + url_.path + "/auth/tokens");
    case 502:
    case 503:
    case 504:
      return fail(ErrorCode::unavailable,
                  where() + " cannot be asked (" + std::to_string(response.status) + ")");
    default:
      return fail(ErrorCode::unavailable,
                  where() + " answered with status " + std::to_string(response.status));
  }
  auto id = find_header(response, "X-Subject-Token");
  auto read = read_sign_in(response.body.str());
  if (id.empty() || !read) {
    return fail(ErrorCode::invalid, where() + " gave no token");
  }
  const auto now = std::chrono::system_clock::now();
  const auto expires = read->expires.value_or(now + 5min);
  return std::make_shared<Token>(
      Token{.id = std::move(id),
            .renew_at = std::max(expires - kRenewBefore, now + (expires - now) / 2),
            .catalog = std::move(read->catalog)});
}

boost::asio::awaitable<Result<TokenPtr>> Keystone::sign_in() {
  const auto target = url_.path + "/auth/tokens";
  const auto body = credentials(access_);
  const std::array<Header, 2> headers{Header{"Content-Type", "application/json"},
                                      Header{"Accept", "application/json"}};
  Request request;
  request.method = "POST";
  request.target = target;
  request.headers = headers;
  request.body = body;
  request.peer = &kOurselves;
  const auto response = co_await http::co_ask(*upstream_, request);
  co_return token_from(response);
}

boost::asio::awaitable<Result<TokenPtr>> Keystone::token(TokenPtr refused) {
  std::shared_ptr<http::Flight<Result<TokenPtr>>> flight;
  bool ours = false;
  {
    const std::scoped_lock lock(mutex_);
    if (token_ && token_ != refused && std::chrono::system_clock::now() < token_->renew_at) {
      co_return token_;
    }
    if (!signing_in_) {
      signing_in_ = std::make_shared<http::Flight<Result<TokenPtr>>>();
      ours = true;
    }
    flight = signing_in_;
  }
  if (!ours) {
    co_return co_await flight->wait();
  }
  auto made = co_await sign_in();
  {
    const std::scoped_lock lock(mutex_);
    token_ = made ? *made : nullptr;
    signing_in_.reset();
  }
  flight->land(made);
  co_return made;
}

}  // namespace metatap::openstack
