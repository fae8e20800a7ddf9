// SPDX-License-Identifier: Apache-2.0
#include "agent/endpoints.hpp"

namespace metatap::agent {

http::UnixEndpoint proxy_socket(const AgentOptions& options) {
  http::UnixEndpoint endpoint;
  endpoint.path = options.metadata_proxy_socket.string();
  endpoint.mode = socket_mode(options);
  if (options.metadata_proxy_socket_mode == "group") {
    endpoint.group = options.metadata_proxy_group;
  }
  return endpoint;
}

http::Limits proxy_limits(const AgentOptions& options) {
  http::Limits limits;
  limits.head = std::size_t{32} << 10U;
  limits.target = std::size_t{16} << 10U;
  limits.body = std::size_t{64} << 10U;
  limits.connections = options.max_connections;
  return limits;
}

http::UpstreamOptions api_upstream(const AgentOptions& options) {
  http::UpstreamOptions upstream;
  upstream.endpoint = http::TcpEndpoint{options.nova_metadata_host, options.nova_metadata_port};
  if (options.nova_metadata_tls) {
    http::TlsOptions tls;
    tls.ca_file = options.auth_ca_cert;
    tls.client_cert = options.nova_client_cert;
    tls.client_key = options.nova_client_priv_key;
    tls.insecure = options.nova_metadata_insecure;
    upstream.tls = std::move(tls);
  }
  upstream.deadline = options.nova_timeout;
  return upstream;
}

}  // namespace metatap::agent
