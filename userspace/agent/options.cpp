// SPDX-License-Identifier: Apache-2.0
#include "agent/options.hpp"

#include <unistd.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "agent/ovn_options.hpp"
#include "base/option_reader.hpp"
#include "sys/users.hpp"

namespace metatap::agent {
namespace {

void read_shield(OptionReader& read, ShieldOptions& shield) {
  read.boolean({"agent", "shield",
                "Remembers the API's answers, when it is another process, for storms and outages"},
               shield.enabled);
  read.seconds({"agent", "shield_ttl", "How long an answer is given again without asking"},
               shield.ttl, 0, 3600);
  read.seconds({"agent", "shield_stale",
                "How old the last good answer may be that stands in for an API that gives none"},
               shield.stale, 0, 30L * 86400);
  read.seconds(
      {"agent", "shield_patience", "How long the API may take while there is such an answer"},
      shield.patience, 1, 3600);
  read.integer({"agent", "shield_questions", "Questions to the API at a time; others wait"},
               shield.most_questions, 1, 4096);
  read.boolean({"agent", "shield_ahead", "What a boot asks for is fetched when its port comes"},
               shield.ahead);
}

}  // namespace

Result<AgentOptions> AgentOptions::from(const Config& config) {
  AgentOptions options;
  OptionReader read(config);
  read.host({"DEFAULT", "nova_metadata_host", "The API that is asked, when it is another process"},
            options.nova_metadata_host);
  read.integer({"DEFAULT", "nova_metadata_port", "Its TCP port"}, options.nova_metadata_port, 1,
               65535);
  read.choice({"DEFAULT", "nova_metadata_protocol", "How it is spoken to"},
              options.nova_metadata_tls, {{"http", false}, {"https", true}});
  read.boolean({"DEFAULT", "nova_metadata_insecure", "Its certificate is not checked"},
               options.nova_metadata_insecure);
  read.text({"DEFAULT", "auth_ca_cert", "CA certificates for it; empty: the system's"},
            options.auth_ca_cert);
  read.text({"DEFAULT", "nova_client_cert", "Client certificate for it"}, options.nova_client_cert);
  read.text({"DEFAULT", "nova_client_priv_key", "Its private key"}, options.nova_client_priv_key);
  read.secret({"DEFAULT", "metadata_proxy_shared_secret", "What agent and API sign requests with"},
              options.metadata_proxy_shared_secret);
  options.metadata_proxy_socket = "$state_path/metadata_proxy";
  read.text({"DEFAULT", "metadata_proxy_socket",
             "Where the agent listens, when the proxy is another process"},
            options.metadata_proxy_socket);
  read.choice({"DEFAULT", "metadata_proxy_socket_mode",
               "Who may connect to it; deduce: metadata_proxy_user and _group"},
              options.metadata_proxy_socket_mode, {"deduce", "user", "group", "all"});
  read.text({"DEFAULT", "metadata_proxy_user", "Name or number of the proxy's user"},
            options.metadata_proxy_user);
  read.text({"DEFAULT", "metadata_proxy_group", "Name or number of the proxy's group"},
            options.metadata_proxy_group);
  read.integer({"DEFAULT", "metadata_workers", "Neutron's; without effect here", "threads"},
               options.metadata_workers, 0, INT32_MAX);
  read.integer({"DEFAULT", "metadata_backlog", "Connections that may wait to be accepted"},
               options.metadata_backlog, 1, INT32_MAX);

  read.choice({"agent", "directory", "Where it is known which port is whose"}, options.directory,
              {{"inventory", DirectorySource::inventory},
               {"neutron", DirectorySource::neutron},
               {"ovn", DirectorySource::ovn}});
  bool with_ovn_only = true;
  read.boolean(kReportToNeutron, with_ovn_only);
  read.integer({"agent", "max_connections", "Connections of its socket; others wait"},
               options.max_connections, 16, 1'000'000);
  read.seconds({"agent", "retry_after", "When a guest is told to try again"}, options.retry_after,
               1, 3600);
  read.seconds({"agent", "nova_timeout", "How long the API's answer may take"},
               options.nova_timeout, 1, 3600);
  read_shield(read, options.shield);
  if (!read.status()) {
    return tl::make_unexpected(read.status().error());
  }
  return options;
}

Status check_socket_users(const AgentOptions& options, const Config& config) {
  OptionReader read(config);
  read.require("DEFAULT", "metadata_proxy_user",
               options.metadata_proxy_user.empty() || sys::user_id(options.metadata_proxy_user),
               "the name of a user there is, or a number");
  read.require("DEFAULT", "metadata_proxy_group",
               options.metadata_proxy_group.empty() || sys::group_id(options.metadata_proxy_group),
               "the name of a group there is, or a number");
  return read.status();
}

mode_t socket_mode(const AgentOptions& options) {
  constexpr mode_t kUser = 0644;
  constexpr mode_t kGroup = 0664;
  constexpr mode_t kAll = 0666;
  const auto& mode = options.metadata_proxy_socket_mode;
  if (mode != "deduce") {
    return mode == "user" ? kUser : mode == "group" ? kGroup : kAll;
  }
  const auto& user = options.metadata_proxy_user;
  const auto uid = ::geteuid();
  if (user.empty() || user == "0" || user == "root" || user == std::to_string(uid) ||
      user == sys::user_name(uid)) {
    return kUser;
  }
  const auto& group = options.metadata_proxy_group;
  const auto gid = ::getegid();
  if (group.empty() || group == std::to_string(gid) || group == sys::group_name(gid)) {
    return kGroup;
  }
  return kAll;
}

}  // namespace metatap::agent
