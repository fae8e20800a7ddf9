// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "admin/options.hpp"
#include "agent/neutron_options.hpp"
#include "agent/options.hpp"
#include "agent/ovn_feed.hpp"
#include "api/options.hpp"
#include "apps/daemon.hpp"
#include "base/config.hpp"
#include "base/port_tag.hpp"
#include "dataplane/options.hpp"
#include "http/overload.hpp"
#include "inventory/service.hpp"
#include "libvirt/options.hpp"
#include "metatap/result.hpp"
#include "proxy/options.hpp"
#include "sys/sandbox.hpp"

namespace metatap::apps {

/// What command line and configuration say, read once by each process that runs.
struct Settings {
  /// All options of all stages, whatever runs here: a typing error should not wait for the stage to
  /// be moved.
  static Result<Settings> read(DaemonOptions options);

  /// All options there are, of stages that run here or not.
  [[nodiscard]] static std::vector<OptionInfo> all_options();
  /// Writes a line for each option that the files set and nothing here reads. To be called when
  /// every part has read its options.
  void note_unread() const;

  /// Whether the agent's socket lies between our proxy and our agent.
  [[nodiscard]] bool port_tag_crosses_a_socket() const;
  /// None where proxy and agent are joined in memory, or one of them is Neutron's.
  [[nodiscard]] Result<std::optional<PortTagKey>> port_tag_key() const;
  /// Whose the stages are that read what guests send. Without the user that [DEFAULT] user names by
  /// default: nobody, with a warning.
  [[nodiscard]] Result<sys::User> unprivileged_user() const;
  [[nodiscard]] bool with_ovn() const;

  DaemonOptions options;
  std::unique_ptr<const Config> config;
  std::filesystem::path run_path = "/run/metatap";
  std::chrono::seconds drain_time{5};  ///< how long requests in progress may take at the end
  /// How long a worker serves on when its supervisor has gone, until another comes; 0: not at all.
  std::chrono::seconds hand_over_time{10};
  bool debug = false;
  std::optional<std::string> user;
  InventoryOptions inventory;
  libvirt::LibvirtOptions libvirt;
  api::ApiOptions api;
  agent::AgentOptions agent;
  agent::NeutronOptions neutron;
  agent::OvnOptions ovn;
  proxy::ProxyOptions proxy;
  http::OverloadLimits overload;
  PortTagOptions port_tag;
  dataplane::DataPlaneOptions dataplane;
  admin::MetricsOptions metrics;
};

}  // namespace metatap::apps
