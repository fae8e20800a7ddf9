// SPDX-License-Identifier: Apache-2.0
#include "apps/preflight.hpp"

#include <string_view>
#include <utility>

#include "agent/endpoints.hpp"
#include "agent/neutron_directory.hpp"
#include "api/dynamic_vendordata.hpp"
#include "http/upstream.hpp"

namespace metatap::apps {
namespace {

template <class Part>
Status made(Result<Part> part, std::string_view what) {
  return part ? Status() : tl::make_unexpected(std::move(part.error()).in(what));
}

}  // namespace

Status preflight(const DaemonOptions& stages, const agent::AgentOptions& agent,
                 const agent::NeutronOptions& neutron, const api::ApiOptions& api) {
  Status status;
  if (stages.agent && !stages.api) {
    status = made(http::Upstream::create(agent::api_upstream(agent)), "the API");
  }
  if (status && stages.agent && agent.directory == agent::DirectorySource::neutron) {
    status = made(agent::NeutronDirectory::create(neutron), "[agent] directory = neutron");
  }
  if (status && stages.api && api.dynamic_vendordata()) {
    status = made(api::DynamicVendordata::create(api), "[api] vendordata_dynamic_targets");
  }
  return status;
}

}  // namespace metatap::apps
