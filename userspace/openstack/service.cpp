// SPDX-License-Identifier: Apache-2.0
#include "openstack/service.hpp"

#include <utility>
#include <vector>

#include "http/coroutine.hpp"
#include "openstack/answers.hpp"

namespace metatap::openstack {

Service::Service(std::shared_ptr<Keystone> keystone, const ServiceKind& kind, std::string url)
    : keystone_(std::move(keystone)), kind_(kind), url_(std::move(url)) {}

Result<std::unique_ptr<Service>> Service::create(std::shared_ptr<Keystone> keystone,
                                                 const ServiceKind& kind, std::string url) {
  std::unique_ptr<Service> service(new Service(std::move(keystone), kind, std::move(url)));
  if (!service->url_.empty()) {
    if (auto place = service->place({}); !place) {
      return tl::make_unexpected(std::move(place.error()));
    }
  }
  return service;
}

std::string Service::where() const {
  const std::scoped_lock lock(mutex_);
  return std::string(kind_.title) + (place_ ? " at " + place_->url : "");
}

Result<Service::PlacePtr> Service::place(const Token& token) {
  const auto& access = keystone_->access();
  const auto url = url_.empty() ? endpoint_in(token.catalog, kind_.type, access.valid_interfaces,
                                              access.region_name)
                                : url_;
  if (url.empty() && token.catalog.empty() && keystone_->signs_in()) {
    return fail(ErrorCode::invalid,
                keystone_->where() + " names no endpoints to " + keystone_->who() +
                    ", as no project is named: project_name or project_id is needed");
  }
  if (url.empty()) {
    return fail(ErrorCode::invalid,
                keystone_->where() + " names no " + std::string(kind_.type) + " endpoint" +
                    (access.region_name.empty() ? "" : " in region '" + access.region_name + "'"));
  }
  const std::scoped_lock lock(mutex_);
  if (place_ && place_->url == url) {
    return place_;
  }
  auto parsed = ServiceUrl::parse(url);
  if (!parsed) {
    return tl::make_unexpected(
        std::move(parsed.error()).in(std::string(kind_.title) + "'s endpoint"));
  }
  auto upstream = upstream_to(*parsed, access);
  if (!upstream) {
    return tl::make_unexpected(std::move(upstream.error()).in(kind_.title));
  }
  // The version may be followed by a project's id, as in Nova's older endpoints.
  auto path = parsed->path + "/";
  auto version = path.find(std::string(kind_.version) + "/");
  if (version == std::string::npos) {
    version = parsed->path.size();
    path = parsed->path + std::string(kind_.version) + "/";
  }
  place_ = std::make_shared<Place>(Place{.url = url,
                                         .path = path,
                                         .root = path.substr(0, version + kind_.version.size() + 1),
                                         .upstream = std::move(*upstream)});
  return place_;
}

boost::asio::awaitable<Result<Response>> Service::get(const std::string& target,
                                                      std::span<const Header> headers) {
  return ask(&target, headers);
}

boost::asio::awaitable<Result<Response>> Service::version_document() {
  return ask(nullptr, {});
}

boost::asio::awaitable<Result<Response>> Service::ask(const std::string* target,
                                                      std::span<const Header> headers) {
  TokenPtr refused;
  for (;;) {
    auto token = co_await keystone_->token(refused);
    if (!token) {
      co_return tl::make_unexpected(std::move(token.error()));
    }
    const auto here = place(**token);
    if (!here) {
      co_return tl::make_unexpected(here.error());
    }
    std::vector<Header> all(headers.begin(), headers.end());
    all.push_back({"Accept", "application/json"});
    if (!(*token)->id.empty()) {
      all.push_back({"X-Auth-Token", (*token)->id});
    }
    std::string path = (*here)->root;
    if (target != nullptr) {
      path = target->starts_with('/') ? *target : (*here)->path + *target;
    }
    Request request;
    request.target = path;
    request.headers = all;
    request.peer = &kOurselves;
    auto response = co_await http::co_ask(*(*here)->upstream, request);
    if (response.status != 401 || refused || !keystone_->signs_in()) {
      co_return response;
    }
    refused = *token;  // revoked before its time
  }
}

}  // namespace metatap::openstack
