// SPDX-License-Identifier: Apache-2.0
#include "agent/neutron_client.hpp"

#include <algorithm>
#include <iterator>

#include "base/text.hpp"
#include "openstack/answers.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;

constexpr int kMostPages = 1000;
constexpr std::size_t kMostPorts = 10'000;  ///< of one question; those that make sense have a few

}  // namespace

Result<std::unique_ptr<NeutronClient>> NeutronClient::create(NeutronOptions options) {
  auto url = std::move(options.endpoint_override);
  auto keystone = openstack::Keystone::create(std::move(options));
  if (!keystone) {
    return tl::make_unexpected(std::move(keystone.error()).in("[neutron]"));
  }
  auto neutron = openstack::Service::create(std::move(*keystone), openstack::kNeutron, url);
  if (!neutron) {
    return tl::make_unexpected(std::move(neutron.error()).in("[neutron] endpoint_override"));
  }
  return std::unique_ptr<NeutronClient>(new NeutronClient(std::move(*neutron)));
}

Status NeutronClient::judge(const Response& response) const {
  const auto status = "(" + std::to_string(response.status) + ")";
  switch (response.status) {
    case 200:
      return {};
    case 400:
    case 404:
      return fail(ErrorCode::invalid, "Neutron refuses the question " + status);
    case 401:
    case 403:
      return fail(ErrorCode::denied, "Neutron forbids " + neutron_->keystone().who() +
                                         " to list ports " + status +
                                         ": the credential needs a role that sees all ports");
    default:
      return fail(ErrorCode::unavailable, "Neutron cannot be asked " + status);
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
    const auto response = co_await neutron_->get(target);
    if (!response) {
      co_return tl::make_unexpected(response.error());
    }
    if (auto status = judge(*response); !status) {
      co_return tl::make_unexpected(std::move(status.error()));
    }
    auto page = openstack::read_page<json>(response->body.str(), "ports", "Neutron");
    if (!page) {
      co_return tl::make_unexpected(std::move(page.error()));
    }
    if (all.size() + page->items.size() > kMostPorts) {
      co_return fail(ErrorCode::unavailable, "Neutron's answer has no end");
    }
    std::ranges::move(page->items, std::back_inserter(all));
    target = std::move(page->next);
  }
  co_return all;
}

}  // namespace metatap::agent
