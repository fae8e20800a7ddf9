// SPDX-License-Identifier: Apache-2.0
// What a worker shows, on the admin socket and, if it is asked to, by TCP.
#include <boost/asio/awaitable.hpp>
#include <string>
#include <utility>
#include <vector>

#include "admin/inventory_actions.hpp"
#include "admin/port_actions.hpp"
#include "admin/trace_action.hpp"
#include "apps/config_drive_action.hpp"
#include "apps/explain_action.hpp"
#include "apps/ledger_views.hpp"
#include "apps/measures.hpp"
#include "apps/version.hpp"
#include "apps/views.hpp"
#include "apps/worker_impl.hpp"
#include "base/log.hpp"

namespace metatap::apps {
namespace asio = boost::asio;

void Worker::Impl::show_all() {
  show_daemon(registry, options);
  if (data_plane) {
    show(registry, *data_plane);
  }
  show_process(registry, supervised ? "worker" : "metatapd");
  admin::register_inventory(registry, *inventory,
                            [this]() -> asio::awaitable<std::vector<std::string>> {
                              if (data_plane) {
                                co_return co_await data_plane->settled();
                              }
                              co_return std::vector<std::string>();
                            });
  const admin::ServedPorts ports{[this] { return ovn ? ovn->inventory() : inventory->current(); },
                                 data_plane ? settings.inventory.host : std::string()};
  admin::register_ports(registry, *inventory, ports);
  admin::register_trace(registry, control, trace, [this](std::chrono::milliseconds time) {
    if (data_plane) {
      data_plane->watch(time);
    }
  });
  admin::register_config(registry, *settings.config);
  show(registry, *workers->overload());
  if (proxy) {
    show(registry, *proxy);
    if (const auto* ledger = proxy->ledger()) {
      show(registry, *ledger);
    }
  }
  if (libvirt) {
    show(registry, *libvirt);
  }
  if (ovn) {
    show(registry, *ovn);
  }
  if (neutron_directory != nullptr) {
    show(registry, *neutron_directory);
  }
  // What the proxy passes on is what the agent is asked: measured once.
  const auto passed_on = [this] { return proxy->measured().passed; };
  if (agent) {
    show(registry, *agent);
    show_stage(registry, "agent", proxy ? Measure(passed_on) : measure_of(*metered_agent));
  }
  if (to_agent) {
    show(registry, next_agent.emplace(*to_agent, passed_on), "agent");
  }
  if (agent_server) {
    show(registry, *agent_server, "agent");
  }
  if (to_api) {
    show(registry, next_api.emplace(*to_api, measure_of(*metered_to_api)), "api");
    if (shield) {
      show(registry, *shield);
    }
  }
  if (api_server) {
    show(registry, *api_server, "api");
  }
  if (api) {
    show(registry, *api);
    show_stage(registry, "api", measure_of(*metered_api));
    register_config_drive(registry, *api, *inventory);
  }
  register_explain(registry, settings, *inventory, ports,
                   {.data_plane = data_plane.get(),
                    .proxy = proxy.get(),
                    .agent = agent.get(),
                    .next_agent = next_agent ? &*next_agent : nullptr,
                    .api = api.get(),
                    .next_api = next_api ? &*next_api : nullptr});
}

Status Worker::Impl::start_admin() {
  show_all();
  admin = std::make_unique<admin::AdminServer>(
      *workers, control.get_executor(), registry,
      admin::AdminOptions{.socket = (settings.run_path / "admin.sock").string(),
                          .version = version_of("metatapd")});
  return admin->start();
}

/// Where there is a supervisor, the socket comes from there, perhaps before all is there that is to
/// be shown.
Status Worker::Impl::start_metrics() {
  if (!supervised) {
    auto listening = settings.metrics.open();
    if (!listening) {
      return tl::make_unexpected(std::move(listening.error()));
    }
    exposed = *std::move(listening);
    exposed_name = "[admin] metrics_listen";
  }
  serve_exposed();
  return {};
}

void Worker::Impl::expose(UniqueFd listening, std::string name) {
  exposed = std::move(listening);
  exposed_name = std::move(name);
  if (admin) {
    serve_exposed();
  }
}

void Worker::Impl::serve_exposed() {
  if (!exposed) {
    return;
  }
  metrics = std::make_unique<admin::MetricsServer>(*workers, control.get_executor(), registry);
  if (auto listens = metrics->listen(exposed, exposed_name); !listens) {
    log::error("{}", listens.error().message);
  }
  exposed.reset();
}

/// For the log; any thread.
std::string Worker::Impl::instance_of(std::string_view port) const {
  auto known = directory ? directory->known({.port_id = port}) : Result<Identity>();
  return known ? std::move(known->instance_id) : std::string();
}

}  // namespace metatap::apps
