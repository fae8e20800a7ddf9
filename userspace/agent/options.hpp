// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>

#include "agent/shield.hpp"
#include "base/config.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// Which directory the agent asks.
enum class DirectorySource : std::uint8_t { inventory, neutron, ovn };

/// What neutron-metadata-agent reads from metadata_agent.ini, under the same names, and our own
/// `[agent]` options.
struct AgentOptions {
  std::string nova_metadata_host = "127.0.0.1";
  std::uint16_t nova_metadata_port = 8775;
  bool nova_metadata_tls = false;  ///< nova_metadata_protocol = https
  bool nova_metadata_insecure = false;
  std::string auth_ca_cert, nova_client_cert, nova_client_priv_key;  ///< files; empty: none
  std::chrono::milliseconds nova_timeout{60'000};

  std::string metadata_proxy_shared_secret;

  std::filesystem::path metadata_proxy_socket = "/var/lib/metatap/metadata_proxy";
  std::string metadata_proxy_socket_mode = "deduce";
  std::string metadata_proxy_user, metadata_proxy_group;  ///< names or numbers
  unsigned metadata_workers = 1;
  int metadata_backlog = 4096;
  std::size_t max_connections = 4096;  ///< [agent]; of its socket

  DirectorySource directory = DirectorySource::inventory;
  /// Told to guests when the directory or the API cannot be asked now.
  std::chrono::seconds retry_after{1};
  ShieldOptions shield;

  static Result<AgentOptions> from(const Config& config);
};

/// ErrorCode::invalid, naming option and place: metadata_proxy_user or _group is set to what is
/// neither a number nor known here, as Neutron refuses it. To be asked where the agent has a
/// socket.
[[nodiscard]] Status check_socket_users(const AgentOptions& options, const Config& config);

/// The permission bits of the socket by Neutron's rules: `user`, `group` and `all` are what they
/// say; `deduce` gives the least that lets metadata_proxy_user and metadata_proxy_group connect.
[[nodiscard]] mode_t socket_mode(const AgentOptions& options);

}  // namespace metatap::agent
