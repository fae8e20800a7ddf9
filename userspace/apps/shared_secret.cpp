// SPDX-License-Identifier: Apache-2.0
#include "apps/shared_secret.hpp"

#include <openssl/rand.h>

#include <array>
#include <string>
#include <string_view>

#include "base/shared_secret.hpp"
#include "base/text.hpp"

namespace metatap::apps {
namespace {

constexpr std::string_view kOption = "metadata_proxy_shared_secret";

/// With option and place; nothing is wrong where there is no fault.
Status judged(const Config& config, std::string_view group, std::string_view fault) {
  if (fault.empty()) {
    return {};
  }
  return fail(ErrorCode::invalid, config.where(group, kOption).value_or("default") + ": [" +
                                      std::string(group) + "] " + std::string(kOption) + " " +
                                      std::string(fault));
}

std::string made_secret() {
  std::array<unsigned char, 32> random{};
  ::RAND_bytes(random.data(), static_cast<int>(random.size()));
  return hex_encoded(random);
}

}  // namespace

Status settle_shared_secret(const DaemonOptions& stages, const Config& config,
                            agent::AgentOptions& agent, api::ApiOptions& api) {
  auto& agents = agent.metadata_proxy_shared_secret;
  auto& apis = api.metadata_proxy_shared_secret;
  const bool joined = stages.agent && stages.api;
  // The API reads the agent's where it is told none of its own.
  const std::string_view apis_group = config.where("neutron", kOption) ? "neutron" : "DEFAULT";
  if (joined && agents.empty()) {
    if (apis.empty()) {
      apis = made_secret();
    }
    agents = apis;
  }
  if (joined && agents != apis) {
    return judged(config, apis_group, "is another than in [DEFAULT], where the agent has it");
  }
  if (stages.agent) {
    const auto group = joined ? apis_group : "DEFAULT";
    if (auto status = judged(config, group, fault_of_secret(agents)); !status) {
      return status;
    }
  }
  return stages.api && api.service_metadata_proxy
             ? judged(config, apis_group, fault_of_secret(apis))
             : Status();
}

}  // namespace metatap::apps
