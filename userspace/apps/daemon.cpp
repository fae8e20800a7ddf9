// SPDX-License-Identifier: Apache-2.0
#include "apps/daemon.hpp"

#include <boost/algorithm/string/split.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <string>

#include "admin/inventory_actions.hpp"
#include "admin/registry.hpp"
#include "admin/server.hpp"
#include "agent/endpoints.hpp"
#include "agent/inventory_directory.hpp"
#include "agent/neutron_directory.hpp"
#include "agent/neutron_options.hpp"
#include "agent/options.hpp"
#include "agent/ovn_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "agent/stage.hpp"
#include "api/options.hpp"
#include "api/stage.hpp"
#include "apps/config_drive_action.hpp"
#include "apps/views.hpp"
#include "base/config.hpp"
#include "base/log.hpp"
#include "base/option_reader.hpp"
#include "base/port_tag.hpp"
#include "dataplane/core.hpp"
#include "dataplane/hooks.hpp"
#include "dataplane/options.hpp"
#include "dataplane/router_data_plane.hpp"
#include "dataplane/tap_data_plane.hpp"
#include "http/server.hpp"
#include "http/upstream.hpp"
#include "http/workers.hpp"
#include "inventory/service.hpp"
#include "proxy/options.hpp"
#include "proxy/stage.hpp"
#include "sys/notify.hpp"

namespace metatap::apps {
namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kServing = "serving";
constexpr auto kDrain = 5s;         ///< how long running requests may take to finish at the end
constexpr auto kPortsWithin = 5s;   ///< how long the start waits for OVN to name the ports
constexpr auto kRefreshEvery = 2s;  ///< files that are only looked at now and then

/// Comes back once the data plane has done what was to be done when it was called, with what it
/// could not do.
asio::awaitable<std::vector<std::string>> done(dataplane::WorkQueue& queue) {
  struct Waiting {
    asio::steady_timer timer;
    std::vector<std::string> problems;
  };
  constexpr auto kForever = asio::steady_timer::time_point::max();
  const auto executor = co_await asio::this_coro::executor;
  const auto waiting = std::make_shared<Waiting>(asio::steady_timer(executor, kForever));
  queue.when_done([waiting](std::vector<std::string> problems) {
    waiting->problems = std::move(problems);
    waiting->timer.expires_at(asio::steady_timer::time_point::min());
  });
  co_await waiting->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  co_return std::move(waiting->problems);
}

/// Reads one stage's options into place.
template <class Options>
Status read(const Config& config, Options& into) {
  auto options = Options::from(config);
  if (!options) {
    return tl::make_unexpected(std::move(options.error()));
  }
  into = std::move(*options);
  return {};
}

}  // namespace

Status DaemonOptions::set_stages(std::string_view list) {
  dataplane = proxy = agent = api = false;
  std::vector<std::string> words;
  boost::algorithm::split(words, list, [](char c) { return c == ','; });
  for (const auto& word : words) {
    if (word == "dataplane") {
      dataplane = true;
    } else if (word == "proxy") {
      proxy = true;
    } else if (word == "agent") {
      agent = true;
    } else if (word == "api") {
      api = true;
    } else {
      return fail(ErrorCode::invalid,
                  "--stages: '" + word + "' is no stage; there are dataplane, proxy, agent, api");
    }
  }
  if (dataplane != proxy) {
    return fail(ErrorCode::invalid,
                "--stages: dataplane and proxy run in one process, because the listening sockets "
                "and the connections' identities pass between them in memory");
  }
  if (proxy && !agent && api) {
    return fail(ErrorCode::invalid,
                "--stages: api here and agent elsewhere would have the proxy's requests leave and "
                "come back; run dataplane,proxy in one process and api in another");
  }
  return {};
}

/// Members are in the order of their dependence: each may use those above it and is destroyed
/// before them.
struct Daemon::Impl {
  Impl(DaemonOptions its_options, Config its_config)
      : options(std::move(its_options)),
        config(std::move(its_config)),
        signals(control),
        refresh(control),
        watchdog(control) {}

  const DaemonOptions options;
  const Config config;
  std::filesystem::path run_path = "/run/metatap";
  InventoryOptions inventory_options;
  api::ApiOptions api_options;
  agent::AgentOptions agent_options;
  agent::NeutronOptions neutron_options;
  agent::OvnOptions ovn_options;
  proxy::ProxyOptions proxy_options;
  PortTagOptions port_tag_options;
  dataplane::DataPlaneOptions dataplane_options;

  asio::io_context control{1};
  asio::signal_set signals;
  asio::steady_timer refresh, watchdog;
  std::unique_ptr<http::Workers> workers;
  std::unique_ptr<InventoryService> inventory;

  std::unique_ptr<api::ApiStage> api;
  std::unique_ptr<http::Upstream> to_api;
  /// Ports as Open vSwitch and OVN tell of them, where `[agent] directory = ovn`; the data plane
  /// and the agent then follow these and not the inventory's.
  std::unique_ptr<agent::OvnFeed> ovn;
  std::unique_ptr<Directory> directory;  ///< one of the next three
  agent::InventoryDirectory* inventory_directory = nullptr;
  agent::NeutronDirectory* neutron_directory = nullptr;
  std::unique_ptr<agent::AgentStage> agent;
  std::unique_ptr<http::Upstream> to_agent;
  std::unique_ptr<proxy::ProxyStage> proxy;
  std::unique_ptr<http::Server> api_server, agent_server;
  std::shared_ptr<dataplane::Core> core;
  std::unique_ptr<dataplane::Reconciler> reconciler;
  std::unique_ptr<dataplane::TapDataPlane> tap;
  std::unique_ptr<dataplane::RouterDataPlane> router;
  admin::Registry registry;
  std::unique_ptr<admin::AdminServer> admin;

  Status read_options();
  [[nodiscard]] bool port_tag_crosses_a_socket() const;
  [[nodiscard]] Result<std::optional<PortTagKey>> port_tag_key() const;
  Status start();
  Status start_inventory();
  Status start_api();
  Status start_ovn();
  Status start_directory();
  Status start_agent();
  Status start_proxy();
  Status start_dataplane();
  Status start_admin();
  void follow_ports(const InventoryChange& change);
  void follow_inventory();
  void keep_refreshing();
  void keep_telling_the_watchdog(std::chrono::microseconds interval);
  void obey_signals();
  void stop();
};

Status Daemon::Impl::read_options() {
  OptionReader own(config);
  own.text({"DEFAULT", "run_path", "Sockets and what lives until the next start"}, run_path);
  if (!own.status()) {
    return own.status();
  }
  // All of them, whatever runs here: a typing error should not wait for the stage to be moved.
  for (const auto& status : {read(config, inventory_options), read(config, api_options),
                             read(config, agent_options), read(config, proxy_options),
                             read(config, port_tag_options), read(config, dataplane_options)}) {
    if (!status) {
      return status;
    }
  }
  if (port_tag_crosses_a_socket()) {
    if (auto status = PortTagKey::check(port_tag_options); !status) {
      return status;
    }
  }
  // These two read groups that other programs' files use for other things.
  switch (agent_options.directory) {
    case agent::DirectorySource::inventory:
      return {};
    case agent::DirectorySource::neutron:
      return read(config, neutron_options);
    case agent::DirectorySource::ovn:
      return read(config, ovn_options);
  }
  return {};
}

/// Whether the agent's socket lies between our proxy and our agent.
bool Daemon::Impl::port_tag_crosses_a_socket() const {
  return options.proxy ? !options.agent && !proxy_options.neutron_agent : options.agent;
}

/// None where proxy and agent are joined in memory, or one of them is Neutron's.
Result<std::optional<PortTagKey>> Daemon::Impl::port_tag_key() const {
  if (!port_tag_crosses_a_socket()) {
    return std::nullopt;
  }
  return PortTagKey::open(port_tag_options).map([](PortTagKey key) {
    return std::optional(std::move(key));
  });
}

Status Daemon::Impl::start_inventory() {
  auto service = InventoryService::open(control.get_executor(), inventory_options);
  if (!service) {
    return tl::make_unexpected(std::move(service.error()));
  }
  inventory = std::move(*service);
  follow_inventory();
  inventory->on_known([] { sys::notify_status(kServing); });
  return inventory->start();
}

Status Daemon::Impl::start_api() {
  api::ApiHooks hooks;
  hooks.store_password = [this](std::string instance, std::string text) {
    return inventory->set_password(std::move(instance), std::move(text));
  };
  hooks.inventory_known = [this] { return inventory->known(); };
  auto stage = api::ApiStage::create(api_options, inventory->current(), std::move(hooks));
  if (!stage) {
    return tl::make_unexpected(std::move(stage.error()));
  }
  api = std::move(*stage);
  if (options.agent) {
    return {};  // joined in memory
  }
  api_server = std::make_unique<http::Server>(*workers, *api);
  return api_server->listen(
      http::TcpEndpoint{api_options.metadata_listen, api_options.metadata_listen_port});
}

Status Daemon::Impl::start_ovn() {
  auto feed = agent::OvnFeed::create(control, ovn_options);
  if (!feed) {
    return tl::make_unexpected(std::move(feed.error()));
  }
  ovn = std::move(*feed);
  // What is steered already should not be let go of for the moment it takes to know it again.
  ovn->start();
  ovn->wait_until_ready(kPortsWithin);
  return {};
}

Status Daemon::Impl::start_directory() {
  if (ovn) {
    directory = std::make_unique<agent::OvnDirectory>(*ovn);
    return {};
  }
  if (agent_options.directory == agent::DirectorySource::neutron) {
    auto made = agent::NeutronDirectory::create(neutron_options);
    if (!made) {
      return tl::make_unexpected(std::move(made.error()));
    }
    neutron_directory = made->get();
    directory = std::move(*made);
    return {};
  }
  auto made = std::make_unique<agent::InventoryDirectory>(*inventory->current(),
                                                          [this] { return inventory->known(); });
  inventory_directory = made.get();
  directory = std::move(made);
  return {};
}

Status Daemon::Impl::start_agent() {
  if (auto status = start_directory(); !status) {
    return status;
  }
  Handler* next = api.get();
  if (next == nullptr) {
    auto upstream = http::Upstream::create(agent::api_upstream(agent_options));
    if (!upstream) {
      return tl::make_unexpected(std::move(upstream.error()));
    }
    to_api = std::move(*upstream);
    next = to_api.get();
  }
  auto key = port_tag_key();
  if (!key) {
    return tl::make_unexpected(std::move(key.error()));
  }
  auto stage = agent::AgentStage::create(*directory, *next, agent_options, std::move(*key));
  if (!stage) {
    return tl::make_unexpected(std::move(stage.error()));
  }
  agent = std::move(*stage);
  if (options.proxy) {
    return {};
  }
  agent_server = std::make_unique<http::Server>(*workers, *agent, agent::proxy_limits());
  return agent_server->listen(agent::proxy_socket(agent_options));
}

Status Daemon::Impl::start_proxy() {
  Handler* next = agent.get();
  if (next == nullptr) {
    auto upstream = http::Upstream::create(proxy_options.upstream());
    if (!upstream) {
      return tl::make_unexpected(std::move(upstream.error()));
    }
    to_agent = std::move(*upstream);
    next = to_agent.get();
  }
  auto key = port_tag_key();
  if (!key) {
    return tl::make_unexpected(std::move(key.error()));
  }
  proxy = std::make_unique<proxy::ProxyStage>(*workers, *next, proxy_options, std::move(*key));
  return {};
}

Status Daemon::Impl::start_dataplane() {
  const auto ports = ovn ? ovn->inventory() : inventory->current();
  reconciler = std::make_unique<dataplane::Reconciler>(control, dataplane_options.rcu);
  if (options.steering == Steering::listen) {
    core = dataplane::Core::without_bpf(dataplane_options);
  } else {
    auto loaded = dataplane::Core::with_bpf(dataplane_options);
    if (!loaded) {
      return tl::make_unexpected(std::move(loaded.error()));
    }
    core = std::move(*loaded);
    tap = std::make_unique<dataplane::TapDataPlane>(core, *reconciler, control, *proxy);
    if (auto started = tap->start(ports); !started) {
      return started;
    }
  }
  router = std::make_unique<dataplane::RouterDataPlane>(core, *reconciler, control, *proxy);
  return router->start(ports);
}

Status Daemon::Impl::start_admin() {
  admin::register_inventory(registry, *inventory,
                            [this]() -> asio::awaitable<std::vector<std::string>> {
                              if (reconciler) {
                                co_return co_await done(reconciler->queue);
                              }
                              co_return std::vector<std::string>();
                            });
  admin::register_config(registry, config);
  if (tap) {
    show(registry, *tap);
  }
  if (router) {
    show(registry, *router);
  }
  if (proxy) {
    show(registry, *proxy);
  }
  if (ovn) {
    show(registry, *ovn);
  }
  if (neutron_directory != nullptr) {
    show(registry, *neutron_directory);
  }
  if (agent) {
    show(registry, *agent);
  }
  if (to_agent) {
    show(registry, *to_agent, "agent");
  }
  if (agent_server) {
    show(registry, *agent_server, "agent");
  }
  if (to_api) {
    show(registry, *to_api, "api");
  }
  if (api_server) {
    show(registry, *api_server, "api");
  }
  if (api) {
    show(registry, *api);
    register_config_drive(registry, *api, *inventory);
  }
  admin = std::make_unique<admin::AdminServer>(
      *workers, control.get_executor(), registry,
      admin::AdminOptions{.socket = (run_path / "admin.sock").string()});
  return admin->start();
}

void Daemon::Impl::follow_ports(const InventoryChange& change) {
  if (tap) {
    tap->apply(change);
  }
  if (router) {
    router->apply(change);
  }
}

/// The API first and the data plane last: who can ask finds an answer. Each part begins with what
/// is there when it is made, and is told of every change from then on.
void Daemon::Impl::follow_inventory() {
  inventory->subscribe([this](const InventoryChange& change) {
    if (api) {
      api->apply(change);
    }
    if (inventory_directory != nullptr) {
      inventory_directory->apply(change);
    }
    if (!ovn) {
      follow_ports(change);
    }
  });
}

Status Daemon::Impl::start() {
  // systemd makes it where it starts us. What cannot be made is told by whoever writes there.
  std::error_code told_later;
  std::filesystem::create_directories(run_path, told_later);
  workers = std::make_unique<http::Workers>(proxy_options.workers);
  if (auto status = start_inventory(); !status) {
    return status;
  }
  workers->start();
  const bool with_ovn = agent_options.directory == agent::DirectorySource::ovn &&
                        (options.agent || options.dataplane);
  if (auto status = with_ovn ? start_ovn() : Status(); !status) {
    return status;
  }
  if (auto status = options.api ? start_api() : Status(); !status) {
    return status;
  }
  if (auto status = options.agent ? start_agent() : Status(); !status) {
    return status;
  }
  if (auto status = options.proxy ? start_proxy() : Status(); !status) {
    return status;
  }
  if (auto status = options.dataplane ? start_dataplane() : Status(); !status) {
    return status;
  }
  if (ovn) {  // after the directory, which has subscribed as it was made
    ovn->subscribe([this](const InventoryChange& change) { follow_ports(change); });
  }
  config.note_unread();
  if (auto status = start_admin(); !status) {
    return status;
  }
  if (api) {
    keep_refreshing();
  }
  if (const auto interval = sys::watchdog_interval()) {
    keep_telling_the_watchdog(*interval / 2);
  }
  return {};
}

void Daemon::Impl::keep_refreshing() {
  refresh.expires_after(kRefreshEvery);
  refresh.async_wait([this](boost::system::error_code error) {
    if (!error) {
      api->refresh();
      keep_refreshing();
    }
  });
}

void Daemon::Impl::keep_telling_the_watchdog(std::chrono::microseconds interval) {
  sys::notify_watchdog();
  watchdog.expires_after(interval);
  watchdog.async_wait([this, interval](boost::system::error_code error) {
    if (!error) {
      keep_telling_the_watchdog(interval);
    }
  });
}

void Daemon::Impl::obey_signals() {
  signals.async_wait([this](boost::system::error_code error, int number) {
    if (error) {
      return;
    }
    if (number == SIGHUP) {
      log::info("SIGHUP: files are looked at again; a changed option takes a restart");
      if (api) {
        api->refresh();
      }
      obey_signals();
      return;
    }
    log::info("stopping: {}", number == SIGINT ? "SIGINT" : "SIGTERM");
    control.stop();
  });
}

/// From the guests' side inwards: nothing new comes in, what is under way finishes.
void Daemon::Impl::stop() {
  sys::notify_stopping();
  if (admin) {
    admin->stop();
  }
  if (router) {
    router->turn_away();
  }
  if (tap) {
    tap->stop();
  }
  if (core && core->programs) {
    core->programs->unpin();
  }
  if (proxy) {
    proxy->stop(kDrain);
  }
  if (router) {
    router->stop();
  }
  if (agent_server) {
    agent_server->stop(kDrain);
  }
  if (api_server) {
    api_server->stop(kDrain);
  }
  if (inventory) {
    inventory->stop();
  }
  if (workers) {
    workers->stop();
    workers->join();
  }
}

Daemon::Daemon(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::build(const DaemonOptions& options) {
  auto config = Config::load(options.config_files, options.config_directory);
  if (!config) {
    return tl::make_unexpected(std::move(config.error()));
  }
  auto impl = std::make_unique<Impl>(options, std::move(*config));
  if (auto status = impl->read_options(); !status) {
    return tl::make_unexpected(std::move(status.error()));
  }
  return std::unique_ptr<Daemon>(new Daemon(std::move(impl)));
}

Status Daemon::run() {
  auto& impl = *impl_;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    impl.signals.add(number);
  }
  impl.obey_signals();
  std::signal(SIGPIPE, SIG_IGN);
  const auto began = std::chrono::steady_clock::now();
  Status status = impl.start();
  if (status) {
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - began);
    log::info("ready after {} ms", took.count());
    sys::notify_ready(impl.inventory->known()
                          ? std::string(kServing)
                          : "the inventory is not known yet, guests are answered 503: " +
                                impl.inventory->state().unknown_because);
    impl.control.run();
  }
  impl.stop();
  return status;
}

}  // namespace metatap::apps
