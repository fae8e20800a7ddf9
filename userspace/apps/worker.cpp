// SPDX-License-Identifier: Apache-2.0
#include "apps/worker.hpp"

#include <sys/prctl.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "agent/endpoints.hpp"
#include "agent/inventory_directory.hpp"
#include "agent/neutron_directory.hpp"
#include "agent/ovn_directory.hpp"
#include "agent/ovn_feed.hpp"
#include "agent/stage.hpp"
#include "api/health_check.hpp"
#include "api/stage.hpp"
#include "apps/belongings.hpp"
#include "apps/data_plane_views.hpp"
#include "apps/drain.hpp"
#include "apps/orphan.hpp"
#include "apps/reload.hpp"
#include "apps/run_directory.hpp"
#include "apps/signals.hpp"
#include "apps/to_supervisor.hpp"
#include "apps/views.hpp"
#include "apps/watchdog.hpp"
#include "apps/worker_impl.hpp"
#include "base/boot_time.hpp"
#include "base/log.hpp"
#include "base/log_level.hpp"
#include "http/meter.hpp"
#include "http/overload.hpp"
#include "http/server.hpp"
#include "http/spawn.hpp"
#include "http/upstream.hpp"
#include "http/workers.hpp"
#include "inventory/service.hpp"
#include "libvirt/feed.hpp"
#include "proxy/stage.hpp"
#include "sys/descriptors.hpp"
#include "sys/notify.hpp"
#include "sys/sandbox.hpp"

namespace metatap::apps {
namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kServing = "serving";
constexpr auto kPortsWithin = 5s;   ///< how long the start waits for OVN to name the ports
constexpr auto kRefreshEvery = 2s;  ///< files that are only looked at now and then

}  // namespace

Status Worker::Impl::give_up_rights() {
  const auto user = settings.unprivileged_user();
  if (!user) {
    return tl::make_unexpected(user.error());
  }
  if (!supervisor) {
    if (auto claimed = run_directory.claim(settings.run_path, options); !claimed) {
      return claimed;
    }
    if (auto handed = give_belongings(settings, *user); !handed) {
      return handed;
    }
  } else if (auto hidden = sys::hide({"/run/netns", "/sys/fs/bpf"}); !hidden) {
    log::warn("{}; the worker may see them and, having no rights, do nothing with them",
              hidden.error().message);
  }
  if (auto done = sys::become_unprivileged(*user); !done) {
    return done;
  }
  // A change of users would undo it.
  if (supervisor && settings.hand_over_time == 0s &&
      ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
    return fail_errno(errno, "end with the supervisor");
  }
  return sys::restrict_system_calls();
}

Status Worker::Impl::start_inventory() {
  auto service = InventoryService::open(control.get_executor(), settings.inventory);
  if (!service) {
    return tl::make_unexpected(std::move(service.error()));
  }
  inventory = std::move(*service);
  follow_inventory();
  inventory->on_known([this] {
    if (!supervised) {
      sys::notify_status(kServing);
    } else if (following && !ovn) {
      data_plane->tell(*inventory->current());
      tell_held();
    }
  });
  if (auto started = inventory->start();
      !started || settings.inventory.source != InventorySource::libvirt) {
    return started;
  }
  auto feed = libvirt::LibvirtFeed::start(
      control.get_executor(), settings.libvirt, *inventory->current(),
      [this](std::string document) { inventory->follow(std::move(document)); });
  if (!feed) {
    return tl::make_unexpected(std::move(feed.error()));
  }
  libvirt = std::move(*feed);
  return {};
}

Status Worker::Impl::start_api() {
  api::ApiHooks hooks;
  hooks.store_password = [this](std::string instance, std::string text) {
    return inventory->set_password(std::move(instance), std::move(text));
  };
  hooks.inventory_known = [this] { return inventory->known(); };
  auto stage = api::ApiStage::create(settings.api, inventory->current(), std::move(hooks));
  if (!stage) {
    return tl::make_unexpected(std::move(stage.error()));
  }
  api = std::move(*stage);
  metered_api = std::make_unique<http::Metered>(*api, workers->size());
  if (options.agent) {
    return {};  // joined in memory
  }
  health_check = std::make_unique<api::HealthCheck>(*metered_api);
  auto limits = http::limits_between_stages();
  limits.connections = settings.api.max_connections;
  api_server = std::make_unique<http::Server>(*workers, *health_check, limits);
  drain.add(*api_server);
  return api_server->listen(
      http::TcpEndpoint{settings.api.metadata_listen, settings.api.metadata_listen_port});
}

Status Worker::Impl::start_ovn() {
  settings.ovn.memory = settings.inventory.state_path / "ovn.snapshot";
  auto feed = agent::OvnFeed::create(control, settings.ovn);
  if (!feed) {
    return tl::make_unexpected(std::move(feed.error()));
  }
  ovn = std::move(*feed);
  // What is steered already should not be let go of for the moment it takes to know it again.
  ovn->start();
  ovn->wait_until_ready(kPortsWithin);
  return {};
}

Status Worker::Impl::start_directory() {
  if (ovn) {
    directory = std::make_unique<agent::OvnDirectory>(*ovn);
    return {};
  }
  if (settings.agent.directory == agent::DirectorySource::neutron) {
    settings.neutron.memory = settings.inventory.state_path / "neutron.snapshot";
    auto made =
        agent::NeutronDirectory::create(settings.neutron, [this](const std::string& port_id) {
          return proxy ? proxy->access().plug_of(port_id) : 0;
        });
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

Status Worker::Impl::start_agent() {
  if (auto status = start_directory(); !status) {
    return status;
  }
  Handler* next = metered_api.get();
  if (next == nullptr) {
    auto upstream = http::Upstream::create(agent::api_upstream(settings.agent));
    if (!upstream) {
      return tl::make_unexpected(std::move(upstream.error()));
    }
    to_api = std::move(*upstream);
    metered_to_api = std::make_unique<http::Metered>(*to_api, workers->size());
    next = metered_to_api.get();
    if (settings.agent.shield.enabled) {
      shield = std::make_unique<agent::Shield>(*metered_to_api, settings.agent.shield);
      next = shield.get();
    }
  }
  auto key = settings.port_tag_key();
  if (!key) {
    return tl::make_unexpected(std::move(key.error()));
  }
  before_api =
      std::make_unique<admin::RequestWatch>(*next, trace, admin::RequestWatch::Before::api);
  auto stage = agent::AgentStage::create(*directory, *before_api, settings.agent, std::move(*key));
  if (!stage) {
    return tl::make_unexpected(std::move(stage.error()));
  }
  agent = std::move(*stage);
  if (options.proxy) {
    return {};
  }
  metered_agent = std::make_unique<http::Metered>(*agent, workers->size());
  auto limits = http::limits_between_stages();
  limits.connections = settings.agent.max_connections;
  agent_server = std::make_unique<http::Server>(*workers, *metered_agent, limits);
  drain.add(*agent_server);
  return agent_server->listen(agent::proxy_socket(settings.agent));
}

Status Worker::Impl::start_proxy() {
  Handler* next = agent.get();
  if (next == nullptr) {
    auto upstream = http::Upstream::create(settings.proxy.upstream());
    if (!upstream) {
      return tl::make_unexpected(std::move(upstream.error()));
    }
    to_agent = std::move(*upstream);
    next = to_agent.get();
  }
  auto key = settings.port_tag_key();
  if (!key) {
    return tl::make_unexpected(std::move(key.error()));
  }
  before_agent =
      std::make_unique<admin::RequestWatch>(*next, trace, admin::RequestWatch::Before::agent);
  settings.proxy.others_behind = !options.agent || !options.api;
  proxy =
      std::make_unique<proxy::ProxyStage>(*workers, *before_agent, settings.proxy, std::move(*key));
  proxy->access().follow(ovn ? ovn->inventory() : inventory->current());
  proxy->name_instances([this](std::string_view port) { return instance_of(port); });
  proxy->tell_own_answers([this](const proxy::AccessEntry& answer) { tell(trace, answer); });
  drain.add(*proxy);
  return {};
}

void Worker::Impl::meet_supervisor() {
  data_plane = std::make_unique<ToSupervisor>(
      control, *std::exchange(supervisor, std::nullopt),
      ToSupervisor::Orders{
          [this](std::chrono::milliseconds its_arrival, std::chrono::milliseconds its_limit) {
            arrival = its_arrival;
            limit = its_limit;
            end(stopping);
          },
          [this](UniqueFd listening, std::string name) {
            expose(std::move(listening), std::move(name));
          },
          [this](const Error& error) { serve_on_without(error); },
          [this](const channel::Packets& packets) { tell(trace, packets); }});
  const auto ask = [this](std::string path) { return data_plane->connect(std::move(path)); };
  settings.ovn.local.connect_for_us = ask;
  settings.ovn.southbound.connect_for_us = ask;
}

/// Everything is there: the data plane may begin, or go on with us.
void Worker::Impl::start_following() {
  if (ovn || inventory->known()) {  // else what the data plane knows already is better
    data_plane->tell(ovn ? *ovn->inventory() : *inventory->current());
  }
  following = true;
  tell_held();
  if (ovn) {  // after the directory, which has subscribed as it was made
    ovn->subscribe([this](const InventoryChange& change) { follow_ports(change); });
  }
}

void Worker::Impl::follow_ports(const InventoryChange& change) {
  if (proxy) {
    proxy->access().follow(change.after);
  }
  if (following && !data_plane->tell(change) && orphan) {
    orphan->give_up("ports have changed, and no supervisor follows");
  }
  if (following && !change.ports.empty()) {  // nothing else says whose a device is
    tell_held();
  }
}

/// Guests of whom nobody had said who they are, once the data plane knows. One question is enough
/// for all that is told while it is under way.
void Worker::Impl::tell_held() {
  settle_again = true;
  if (std::exchange(settling, true)) {
    return;
  }
  const auto ask = [](Impl& self) -> asio::awaitable<void> {
    do {
      self.settle_again = false;
      co_await self.data_plane->in_effect();
      self.proxy->named();
    } while (self.settle_again);
    self.settling = false;
  };
  http::spawn(control.get_executor(), ask(*this), "telling guests that their port has come",
              [this](const Error&) { settling = false; });
}

/// Guests that wait for their answer to change.
void Worker::Impl::tell_waiting(const std::set<std::string>& instances) {
  if (!proxy) {
    return;
  }
  std::vector<std::string> ports;
  for (const std::string& instance : instances) {
    for (const Port* port : api->index().ports_of_instance(instance)) {
      ports.push_back(port->id);
    }
  }
  proxy->changed(std::move(ports));
}

/// The API first and the data plane last: who can ask finds an answer. Each part begins with what
/// is there when it is made, and is told of every change from then on.
void Worker::Impl::follow_inventory() {
  inventory->subscribe([this](const InventoryChange& change) {
    if (api) {
      tell_waiting(api->apply(change));
    }
    if (inventory_directory != nullptr) {
      inventory_directory->apply(change);
    }
    if (!ovn) {
      follow_ports(change);
    }
  });
}

Status Worker::Impl::start() {
  workers = std::make_unique<http::Workers>(
      settings.proxy.workers, settings.overload.within(sys::raise_descriptor_limit()));
  // What the control thread reads counts as well.
  asio::make_service<http::OverloadShare>(control, workers->overload(), workers->size());
  if (supervisor) {
    meet_supervisor();
  }
  if (auto status = start_inventory(); !status) {
    return status;
  }
  workers->start();
  if (auto status = settings.with_ovn() ? start_ovn() : Status(); !status) {
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
  if (data_plane) {
    start_following();
  }
  settings.note_unread();
  for (const auto part : {&Impl::start_admin, &Impl::start_metrics}) {
    if (auto status = (this->*part)(); !status) {
      return status;
    }
  }
  if (ovn && options.agent) {
    ovn->report();
  }
  keep_refreshing();
  if (data_plane) {
    data_plane->serving(*proxy);
  } else {
    watchdog.start();
  }
  return {};
}

void Worker::Impl::keep_refreshing() {
  refresh.expires_after(kRefreshEvery);
  refresh.async_wait([this](boost::system::error_code error) {
    if (error) {
      return;
    }
    if (api) {
      api->refresh();
    }
    if (ovn) {
      ovn->confirm();
    }
    registry.keep_findings();
    trace.look_away(admin::TraceLog::Clock::now());
    if (data_plane) {
      // A port's window begins when it comes, and not with its first request.
      data_plane->each_caller([this](const std::shared_ptr<const Origin>& origin) {
        if (!origin->unknown()) {
          meet(origin);
        }
      });
      proxy->access().look();
    }
    keep_refreshing();
  });
}

/// A shield prepares for a guest's boot with the first thing that it hears of it. All ports are new
/// to a worker that has just begun, but not all have just come.
void Worker::Impl::meet(const std::shared_ptr<const Origin>& origin) {
  constexpr std::int64_t kLately = 60'000;  // milliseconds
  const bool is_new = origin->notes.get() == nullptr;
  proxy->access().port_of(*origin);
  if (!is_new || boot_time() - origin->came > kLately || !settings.agent.shield.enabled ||
      !settings.agent.shield.ahead) {
    return;
  }
  const auto known = ovn ? ovn->inventory() : inventory->current();
  const auto port = known->ports.find(origin->port_id);
  if (port != known->ports.end() && !port->second->fixed_ips.empty()) {
    proxy->introduce({origin, port->second->fixed_ips.front().ip_address});
  }
}

void Worker::Impl::end(bool again) {
  if (again) {
    drain.hurry();
  }
  stopping = true;
  control.stop();
}

/// Who is who stands in the table, and who may come in is the kernel's to say: guests need not
/// notice that a supervisor is replaced.
void Worker::Impl::serve_on_without(const Error& error) {
  if (stopping) {
    return;
  }
  auto estate = data_plane->release_estate();
  if (settings.hand_over_time == 0s || estate.listeners.empty()) {
    log::error("{}", error.message);
    end(false);
    return;
  }
  metrics.reset();  // the next supervisor opens a socket of its own there
  log::warn("{}: serving on for {} s at most, until another supervisor comes", error.message,
            settings.hand_over_time.count());
  for (const int number : {SIGINT, SIGTERM}) {
    signals.obey(number);
  }
  orphan.emplace(control, std::move(estate), settings.hand_over_time,
                 [this](std::optional<std::chrono::milliseconds> its_limit) {
                   limit = its_limit.value_or(limit);
                   end(false);
                 });
}

void Worker::Impl::reload_all() {
  auto read = Settings::read(options);
  reload.config(read.map([](const auto& fresh) { return *fresh.config; }), [&] {
    limit = read->drain_time;
    log::set_debug(read->debug);
  });
  inventory->read_file_again();
  if (libvirt) {
    libvirt->look_again();
  }
  for (const auto& [stage, upstream] :
       {std::pair("agent's TLS files", &to_agent), std::pair("API's TLS files", &to_api)}) {
    if (*upstream) {
      reload.file(stage, (*upstream)->reload_tls());
    }
  }
  if (api) {
    api->refresh();
  }
}

/// From the guests' side inwards: nothing new comes in, what is under way finishes.
void Worker::Impl::stop() {
  if (metrics) {  // who scrapes comes again
    metrics->stop();
  }
  // A start that failed has let nobody in.
  const auto cut_off = stopping ? drain.run(arrival, limit) : drain.run({}, {});
  if (cut_off != 0) {
    log::warn("{} connections were cut off in the middle of a request", cut_off);
  }
  if (admin) {
    admin->stop();
  }
  libvirt.reset();
  if (inventory) {
    inventory->stop();
  }
  if (workers) {
    workers->stop();
    workers->join();
  }
}

Worker::Worker(Settings settings, std::optional<channel::Socket> supervisor)
    : impl_(std::make_unique<Impl>(std::move(settings), std::move(supervisor))) {}
Worker::~Worker() = default;

Status Worker::run() {
  auto& impl = *impl_;
  if (impl.supervised) {
    ::prctl(PR_SET_NAME, "metatap-worker", 0, 0, 0);
  }
  if (impl.settings.debug) {
    log::set_debug(true);
  }
  const Signals::Orders orders{[&impl] { impl.reload_all(); }, [] {}, [] {},
                               [&impl](bool again) { impl.end(again); }};
  if (impl.supervised) {  // others are sent to a whole group of processes; our end is the
                          // supervisor's to say
    impl.signals.obey({SIGUSR1}, orders);
  } else {
    impl.signals.obey({SIGINT, SIGTERM, SIGHUP, SIGUSR1}, orders);
  }
  const auto began = std::chrono::steady_clock::now();
  auto status = impl.give_up_rights();
  if (status) {
    status = impl.start();
  }
  if (status && !impl.stopping) {
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - began);
    log::info("{} after {} ms", impl.supervised ? "worker ready" : "ready", took.count());
    if (!impl.supervised) {
      sys::notify_ready(impl.inventory->known()
                            ? std::string(kServing)
                            : "the inventory is not known yet, guests are answered 503: " +
                                  impl.inventory->state().unknown_because);
    }
    impl.control.run();
  }
  if (!impl.supervised) {
    sys::notify_stopping();
  }
  impl.stop();
  return status;
}

}  // namespace metatap::apps
