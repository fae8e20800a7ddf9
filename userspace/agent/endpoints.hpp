// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/options.hpp"
#include "http/endpoint.hpp"
#include "http/limits.hpp"
#include "http/upstream.hpp"

namespace metatap::agent {

/// metadata_proxy_socket with the mode Neutron's rules give it. A group named together with the
/// mode `group` owns it.
[[nodiscard]] http::UnixEndpoint proxy_socket(const AgentOptions& options);

/// What a proxy may send: Neutron's haproxy passes heads of up to 16 KB on.
[[nodiscard]] http::Limits proxy_limits(const AgentOptions& options);

/// The metadata API elsewhere, behind nova_metadata_host, with its TLS.
[[nodiscard]] http::UpstreamOptions api_upstream(const AgentOptions& options);

}  // namespace metatap::agent
