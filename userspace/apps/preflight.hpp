// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/neutron_options.hpp"
#include "agent/options.hpp"
#include "api/options.hpp"
#include "apps/daemon.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// What a start would find wrong with the certificates and URLs that the options name: the parts
/// that use them are made and thrown away, and nobody is asked anything.
[[nodiscard]] Status preflight(const DaemonOptions& stages, const agent::AgentOptions& agent,
                               const agent::NeutronOptions& neutron, const api::ApiOptions& api);

}  // namespace metatap::apps
