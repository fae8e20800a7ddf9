// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "admin/metrics_server.hpp"
#include "admin/registry.hpp"
#include "admin/request_watch.hpp"
#include "admin/server.hpp"
#include "admin/trace_log.hpp"
#include "agent/inventory_directory.hpp"
#include "agent/neutron_directory.hpp"
#include "agent/ovn_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "agent/stage.hpp"
#include "api/health_check.hpp"
#include "api/stage.hpp"
#include "apps/drain.hpp"
#include "apps/neighbours.hpp"
#include "apps/orphan.hpp"
#include "apps/reload.hpp"
#include "apps/run_directory.hpp"
#include "apps/signals.hpp"
#include "apps/to_supervisor.hpp"
#include "apps/watchdog.hpp"
#include "apps/worker.hpp"
#include "http/meter.hpp"
#include "http/overload.hpp"
#include "http/server.hpp"
#include "http/upstream.hpp"
#include "http/workers.hpp"
#include "inventory/service.hpp"
#include "libvirt/feed.hpp"
#include "proxy/stage.hpp"

namespace metatap::apps {

/// Members are in the order of their dependence: each may use those above it and is destroyed
/// before them.
struct Worker::Impl {
  Impl(Settings its_settings, std::optional<channel::Socket> its_supervisor)
      : settings(std::move(its_settings)),
        options(settings.options),
        supervisor(std::move(its_supervisor)),
        supervised(supervisor.has_value()),
        limit(settings.drain_time),
        reload(*settings.config),
        signals(control),
        refresh(control),
        watchdog(control),
        drain(control) {}

  Settings settings;
  const DaemonOptions& options;
  std::optional<channel::Socket> supervisor;  ///< until `data_plane` has it
  const bool supervised;
  bool stopping = false;
  bool following = false;     ///< the supervisor has been told of all ports, and hears of changes
  bool settling = false;      ///< it has been asked whether that is in effect
  bool settle_again = false;  ///< it has been told more since
  std::chrono::milliseconds arrival{0}, limit;  ///< of the end
  Reload reload;
  RunDirectory run_directory;
  boost::asio::io_context control{1};
  Signals signals;
  boost::asio::steady_timer refresh;
  Watchdog watchdog;
  Drain drain;
  std::unique_ptr<http::Workers> workers;
  std::unique_ptr<InventoryService> inventory;
  std::unique_ptr<libvirt::LibvirtFeed> libvirt;  ///< what the inventory follows, or null
  std::unique_ptr<ToSupervisor> data_plane;       ///< null without one
  std::optional<Orphan> orphan;                   ///< once the supervisor has gone

  admin::TraceLog trace;
  std::unique_ptr<api::ApiStage> api;
  std::unique_ptr<http::Metered> metered_api;
  std::unique_ptr<api::HealthCheck> health_check;  ///< in front of it, where it runs alone
  std::unique_ptr<http::Upstream> to_api;
  std::unique_ptr<http::Metered> metered_to_api;
  std::unique_ptr<agent::Shield> shield;  ///< before it, with [agent] shield
  /// Ports as Open vSwitch and OVN tell of them, where `[agent] directory = ovn`; the data plane
  /// and the agent then follow these and not the inventory's.
  std::unique_ptr<agent::OvnFeed> ovn;
  std::unique_ptr<Directory> directory;  ///< one of the next three
  agent::InventoryDirectory* inventory_directory = nullptr;
  agent::NeutronDirectory* neutron_directory = nullptr;
  std::unique_ptr<admin::RequestWatch> before_api, before_agent;
  std::unique_ptr<agent::AgentStage> agent;
  std::unique_ptr<http::Metered> metered_agent;  ///< where it has no proxy of ours before it
  std::unique_ptr<http::Upstream> to_agent;
  std::unique_ptr<proxy::ProxyStage> proxy;
  std::unique_ptr<http::Server> api_server, agent_server;
  std::optional<Neighbour> next_agent, next_api;  ///< behind `to_agent` and `to_api`
  admin::Registry registry;
  std::unique_ptr<admin::AdminServer> admin;
  UniqueFd exposed;  ///< listens for `metrics`, until that is made
  std::string exposed_name;
  std::unique_ptr<admin::MetricsServer> metrics;

  Status give_up_rights();
  Status start();
  Status start_inventory();
  Status start_api();
  void meet_supervisor();
  Status start_ovn();
  Status start_directory();
  Status start_agent();
  Status start_proxy();
  void start_following();
  void show_all();
  Status start_admin();
  Status start_metrics();
  void expose(UniqueFd listening, std::string name);
  void serve_exposed();
  [[nodiscard]] std::string instance_of(std::string_view port) const;
  void follow_ports(const InventoryChange& change);
  void tell_held();
  void meet(const std::shared_ptr<const Origin>& origin);
  void tell_waiting(const std::set<std::string>& instances);
  void follow_inventory();
  void keep_refreshing();
  void end(bool again);
  void serve_on_without(const Error& error);
  void reload_all();
  void stop();
};

}  // namespace metatap::apps
