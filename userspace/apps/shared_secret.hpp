// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/options.hpp"
#include "api/options.hpp"
#include "apps/daemon.hpp"
#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap::apps {

/// Judges what agent and API prove identities to each other with, metadata_proxy_shared_secret, for
/// the stages that run here. ErrorCode::invalid, naming option and place: it is empty, it is the
/// placeholder of a sample configuration, or the two stages were told different ones.
///
/// Where both are joined in memory nobody else takes part, so they need none: one is made for this
/// process if none is set.
[[nodiscard]] Status settle_shared_secret(const DaemonOptions& stages, const Config& config,
                                          agent::AgentOptions& agent, api::ApiOptions& api);

}  // namespace metatap::apps
