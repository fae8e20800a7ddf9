// SPDX-License-Identifier: Apache-2.0
#include "apps/supervisor.hpp"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <deque>
#include <map>
#include <utility>

#include "admin/registry.hpp"
#include "apps/belongings.hpp"
#include "apps/data_plane_views.hpp"
#include "apps/effects.hpp"
#include "apps/former_worker.hpp"
#include "apps/listeners.hpp"
#include "apps/measures.hpp"
#include "apps/named_sockets.hpp"
#include "apps/reload.hpp"
#include "apps/run_directory.hpp"
#include "apps/signals.hpp"
#include "apps/views.hpp"
#include "apps/watchdog.hpp"
#include "apps/worker_process.hpp"
#include "base/log.hpp"
#include "base/log_level.hpp"
#include "dataplane/core.hpp"
#include "dataplane/hooks.hpp"
#include "dataplane/own_records.hpp"
#include "dataplane/packet_watch.hpp"
#include "dataplane/router_data_plane.hpp"
#include "dataplane/tap_data_plane.hpp"
#include "http/endpoint.hpp"
#include "inventory/difference.hpp"
#include "sys/notify.hpp"

namespace metatap::apps {
namespace asio = boost::asio;
using namespace std::chrono_literals;
using std::chrono::steady_clock;

namespace {

constexpr auto kArrival = 50ms;  ///< handshakes that have begun are over by then, and accepted
constexpr auto kDrained = 1s;    ///< how much longer than its requests a worker may take to end
// The gate closes when so many in a row have died that never served, or so many in so short a time.
constexpr unsigned kStillborn = 3, kDeaths = 8;
constexpr auto kShortTime = 10s;
constexpr auto kLook = 5s;
constexpr auto kMostStart = 120s;   ///< of one that reads its database
constexpr auto kMostSilence = 30s;  ///< of a worker, which says something every five
constexpr std::chrono::milliseconds kFirstPause = 1s, kLongestPause = 30s;

std::string sentence(const sys::Child::End& end) {
  return "has ended with " + end.reason;
}

}  // namespace

/// Members are in the order of their dependence: each may use those above it and is destroyed
/// before them.
struct Supervisor::Impl {
  explicit Impl(Settings its_settings)
      : settings(std::move(its_settings)),
        signals(control),
        pause(control),
        ear(control),
        watchdog(control),
        listeners(std::max(settings.proxy.workers, 1U)),
        named_sockets(settings),
        drain_time(settings.drain_time),
        reload(*settings.config) {}

  using Id = WorkerProcess::Id;

  const Settings settings;
  asio::io_context control{1};
  Signals signals;
  asio::steady_timer pause, ear;
  Watchdog watchdog;
  Listeners listeners;
  const NamedSockets named_sockets;
  UniqueFd exposed;  ///< [admin] metrics_listen: waits for the next worker as guests' sockets do
  std::shared_ptr<const Inventory> ports = std::make_shared<const Inventory>();
  std::shared_ptr<dataplane::Core> core;
  std::unique_ptr<dataplane::Reconciler> reconciler;
  std::unique_ptr<dataplane::TapDataPlane> tap;
  std::unique_ptr<dataplane::RouterDataPlane> router;
  std::unique_ptr<dataplane::PacketWatch> packets;
  admin::Registry registry;  ///< of the data plane's views
  Effects effects{[this](Id id, std::uint64_t question, std::vector<std::string> problems) {
    if (const auto worker = workers.find(id); worker != workers.end()) {
      worker->second->link().send(channel::Settled{question, std::move(problems)});
    }
  }};
  std::unique_ptr<FormerWorker> former;  ///< until it has ended
  std::map<Id, std::unique_ptr<WorkerProcess>> workers;
  Id last_id = 0;
  Id serving = 0;  ///< 0: none
  Id coming = 0;   ///< has been started and is not ready; 0: none
  std::uint64_t deaths = 0;
  unsigned stillborn = 0;                     ///< in a row
  std::deque<steady_clock::time_point> died;  ///< lately
  unsigned pauses = 0;                        ///< in a row
  Status outcome;                             ///< of the start
  bool stopping = false, hurry = false;
  bool leaving = false;  ///< to the supervisor that comes after us
  std::chrono::seconds drain_time{5};
  Reload reload;
  RunDirectory run_directory;

  Status start();
  Status start_core(const sys::User& user);
  Status start_dataplane();
  void obey_signals();
  void be_told_to_leave();
  void leave();
  void stop();

  Status start_worker();
  void try_again();
  void wait_and_try_again(std::chrono::milliseconds how_long);
  void replace_worker();
  void reload_all();
  void pass_on_debug();
  void worker_ended(Id id, const sys::Child::End& end);
  void worker_serves(Id id);
  Status take(Id id, const channel::Frame& frame);
  Status take_news(Id id, const channel::Frame& frame);
  void connect_for(WorkerProcess& worker, const channel::Connect& wanted);
  void keep_listening_to_workers();
  [[nodiscard]] channel::Drain drain(std::chrono::milliseconds arrival) const;
  void end_workers(std::chrono::milliseconds arrival);
};

// ---- what the data plane is and does ----

/// With what the supervisor before us has left, if it has.
Status Supervisor::Impl::start_core(const sys::User& user) {
  auto left = listeners_left(settings.run_path / dataplane::kOwnRecords,
                             ::geteuid() == 0 ? user.uid : ::geteuid(), former);
  if (!left) {
    return tl::make_unexpected(std::move(left.error()));
  }
  auto made =
      settings.options.steering == Steering::listen
          ? dataplane::Core::without_bpf(settings.dataplane, *std::move(left))
          : dataplane::Core::with_bpf(settings.dataplane, *std::move(left), former != nullptr);
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  core = *std::move(made);
  return {};
}

Status Supervisor::Impl::start_dataplane() {
  reconciler = std::make_unique<dataplane::Reconciler>(control, settings.dataplane.rcu);
  if (core->programs) {
    tap = std::make_unique<dataplane::TapDataPlane>(core, *reconciler, control, listeners);
    if (auto started = tap->start(ports); !started) {
      return started;
    }
    packets = std::make_unique<dataplane::PacketWatch>(core, control, [this](auto seen, auto lost) {
      if (const auto worker = workers.find(serving); worker != workers.end()) {
        worker->second->link().send(packets_of(std::move(seen), lost));
      }
    });
    if (auto started = packets->start(); !started) {
      return started;
    }
    show(registry, *tap, *packets);
  }
  router = std::make_unique<dataplane::RouterDataPlane>(core, *reconciler, control, listeners);
  if (auto started = router->start(ports); !started) {
    return started;
  }
  show(registry, *router);
  if (settings.with_ovn()) {
    show_ovn_agent(registry);
  }
  show_process(registry, "supervisor");
  return {};
}

// ---- workers ----

Status Supervisor::Impl::start_worker() {
  auto made = WorkerProcess::start(
      ++last_id, control, settings.options, settings.run_path / dataplane::kOwnRecords, core->slots,
      {[this](Id id, const channel::Frame& frame) { return take(id, frame); },
       [this](Id id, const sys::Child::End& end) { worker_ended(id, end); }});
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  coming = last_id;
  workers.emplace(coming, *std::move(made));
  return {};
}

void Supervisor::Impl::try_again() {
  if (auto started = start_worker(); !started) {
    log::error("{}", started.error().message);
    wait_and_try_again(kLongestPause);
  }
}

void Supervisor::Impl::wait_and_try_again(std::chrono::milliseconds how_long) {
  pause.expires_after(how_long);
  pause.async_wait([this](boost::system::error_code error) {
    if (!error && !stopping) {
      try_again();
    }
  });
}

void Supervisor::Impl::replace_worker() {
  if (coming != 0) {
    log::warn("a worker is coming already");
    return;
  }
  if (auto started = start_worker(); !started) {
    log::error("{}; the old worker goes on", started.error().message);
  }
}

/// A replacement that does not come up leaves the old one in place; for one that served, another is
/// started: at once, or, if that has not helped several times, with the gate closed and after a
/// pause.
void Supervisor::Impl::worker_ended(Id id, const sys::Child::End& end) {
  const auto found = workers.find(id);
  if (found == workers.end() || stopping) {
    return;
  }
  const std::shared_ptr<WorkerProcess> gone = std::move(found->second);
  workers.erase(found);
  asio::post(control, [gone] {});  // it is the one that called
  const bool was_coming = std::exchange(coming, coming == id ? 0 : coming) == id;
  if (was_coming && serving != 0) {
    log::error("the new worker {} {} before it was ready; the old one goes on", gone->pid(),
               sentence(end));
    return;
  }
  if (was_coming && !router) {  // the first of all
    outcome = fail(end.status == 78 ? ErrorCode::invalid : ErrorCode::unavailable,
                   "the worker " + sentence(end) + " before it was ready");
    control.stop();
    return;
  }
  if (id != serving && !was_coming) {
    log::info("the former worker {} {}", gone->pid(), sentence(end));
    return;
  }
  serving = 0;
  listeners.serve_by(nullptr);
  ++deaths;
  log::error("worker {} {}", gone->pid(), sentence(end));
  if (coming != 0) {
    return;  // its successor is on its way
  }
  stillborn = was_coming ? stillborn + 1 : 0;
  died.push_back(steady_clock::now());
  while (died.back() - died.front() > kShortTime) {
    died.pop_front();
  }
  if (listeners.listening() && stillborn < kStillborn && died.size() < kDeaths) {
    try_again();
    return;
  }
  if (listeners.listening()) {
    log::error("one worker after the other died: guests are left to the other path");
    listeners.close_gate();
  }
  pauses = gone->age() > kShortTime ? 0 : pauses;
  wait_and_try_again(std::min(kLongestPause, kFirstPause * (1 << std::min(pauses++, 5U))));
}

void Supervisor::Impl::worker_serves(Id id) {
  if (id != coming) {
    return;
  }
  coming = 0;
  stillborn = 0;
  const auto replaced = workers.find(std::exchange(serving, id));
  if (!router) {
    // From now on the data plane changes, which the table of the one before us does not tell.
    if (former) {
      former->drain(drain(0ms), drain_time + kDrained);
    }
    if (outcome = start_dataplane(); !outcome) {
      control.stop();
      return;
    }
  }
  listeners.serve_by(&workers.at(id)->link());
  workers.at(id)->open_door();
  if (!listeners.listening()) {
    log::info("worker {} serves: guests are ours again", workers.at(id)->pid());
    listeners.open_gate();
  }
  if (replaced != workers.end()) {
    log::info("worker {} serves, worker {} finishes what it has", workers.at(id)->pid(),
              replaced->second->pid());
    replaced->second->link().send(drain(0ms));
  }
}

Status Supervisor::Impl::take(Id id, const channel::Frame& frame) {
  if (!workers.contains(id)) {
    return {};  // it has ended, and these are its last words
  }
  switch (static_cast<channel::Type>(frame.type)) {
    case channel::Type::hello: {
      const auto hello = channel::message_of<channel::Hello>(frame);
      if (!hello) {
        return tl::make_unexpected(hello.error());
      }
      workers.at(id)->welcome(core->slots->callers(), deaths);
      if (exposed) {
        workers.at(id)->link().send(channel::Expose{http::to_string(*settings.metrics.listen)},
                                    {exposed.get()});
      }
      return {};
    }
    case channel::Type::inventory:
      return take_news(id, frame);
    case channel::Type::serving:
      return channel::message_of<channel::Serving>(frame).map(
          [&](const auto&) { worker_serves(id); });
    case channel::Type::settle:
      return channel::message_of<channel::Settle>(frame).map(
          [&](const auto& settle) { effects.ask(id, settle.question); });
    case channel::Type::beat:
      return channel::message_of<channel::Beat>(frame).map([](const auto&) {});
    case channel::Type::watch:
      return channel::message_of<channel::Watch>(frame).map(
          [&](const auto& watch) { look_on(packets.get(), watch); });
    case channel::Type::look:
      return channel::message_of<channel::Look>(frame).map([&](const auto& look) {
        const DataPlaneParts parts{tap.get(), router.get(), packets.get()};
        workers.at(id)->link().send(
            channel::Seen{look.question, document_of(look, registry, parts)});
      });
    case channel::Type::connect:
      return channel::message_of<channel::Connect>(frame).map(
          [&](const auto& wanted) { connect_for(*workers.at(id), wanted); });
    default:
      return fail(ErrorCode::invalid,
                  "it said something unknown: kind " + std::to_string(frame.type));
  }
}

void Supervisor::Impl::connect_for(WorkerProcess& worker, const channel::Connect& wanted) {
  if (const auto fd = named_sockets.connect(wanted.path)) {
    worker.link().send(channel::Connected{wanted.question}, {fd->get()});
  } else {
    worker.link().send(channel::NotConnected{wanted.question, fd.error().message});
  }
}

Status Supervisor::Impl::take_news(Id id, const channel::Frame& frame) {
  auto news = channel::message_of<channel::InventoryNews>(frame);
  if (!news) {
    return tl::make_unexpected(std::move(news.error()));
  }
  if (auto good = channel::check(*news); !good) {
    return good;
  }
  if (id != serving && id != coming) {
    return {};  // what a former worker says is old
  }
  const bool whole = news->whole;
  auto change =
      channel::follow(whole ? std::make_shared<const Inventory>() : ports, *std::move(news));
  if (whole) {
    change = difference(ports, change.after);
  }
  ports = change.after;
  if (tap) {
    tap->apply(change);
  }
  if (router) {
    router->apply(change);
  }
  if (reconciler) {
    effects.follow(reconciler->queue);
  }
  return {};
}

/// One that does not turn any more serves nobody, and does not know it.
void Supervisor::Impl::keep_listening_to_workers() {
  ear.expires_after(kLook);
  ear.async_wait([this](boost::system::error_code error) {
    if (error) {
      return;
    }
    for (const auto& [id, worker] : workers) {
      if (worker->silence() > (id == coming ? kMostStart : kMostSilence)) {
        log::error("worker {} has not been heard of for {} s; it is ended", worker->pid(),
                   std::chrono::duration_cast<std::chrono::seconds>(worker->silence()).count());
        worker->kill();
      }
    }
    if (former && former->ended()) {
      former.reset();
    }
    registry.keep_findings();
    keep_listening_to_workers();
  });
}

channel::Drain Supervisor::Impl::drain(std::chrono::milliseconds arrival) const {
  return {static_cast<std::uint32_t>(arrival.count()),
          static_cast<std::uint32_t>(std::chrono::milliseconds(drain_time).count())};
}

/// All finish what they have, and those that do not are ended.
void Supervisor::Impl::end_workers(std::chrono::milliseconds arrival) {
  listeners.serve_by(nullptr);
  if (former) {
    former->drain(drain(arrival), arrival + drain_time + kDrained);
  }
  for (const auto& [id, worker] : workers) {
    worker->link().send(drain(arrival));
  }
  auto end = steady_clock::now() + arrival + drain_time + kDrained;
  control.restart();
  while ((!workers.empty() || former) && steady_clock::now() < end) {
    control.run_one_for(50ms);
    if (std::exchange(hurry, false)) {
      control.restart();
      end = std::min(end, steady_clock::now() + kDrained);
    }
    std::erase_if(workers, [](const auto& one) { return one.second->ended().has_value(); });
    if (former && former->ended()) {
      former.reset();
    }
  }
  if (!workers.empty()) {
    log::warn("a worker has not ended; it is killed");
  }
  workers.clear();
}

// ---- the process ----

Status Supervisor::Impl::start() {
  const auto user = settings.unprivileged_user();
  if (!user) {
    return tl::make_unexpected(user.error());
  }
  if (auto claimed = run_directory.claim(settings.run_path, settings.options); !claimed) {
    return claimed;
  }
  if (auto handed = give_belongings(settings, *user); !handed) {
    return handed;
  }
  if (auto listening = settings.metrics.open()) {
    exposed = *std::move(listening);
  } else {
    return tl::make_unexpected(std::move(listening.error()));
  }
  if (auto started = start_core(*user); !started) {
    return started;
  }
  if (auto started = start_worker(); !started) {
    return started;
  }
  while (serving == 0 && !control.stopped()) {
    control.run_one();
  }
  if (outcome && !stopping) {
    keep_listening_to_workers();
    watchdog.start();
  }
  return outcome;
}

void Supervisor::Impl::obey_signals() {
  signals.obey(
      {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2},
      {[this] { reload_all(); }, [this] { pass_on_debug(); }, [this] { be_told_to_leave(); },
       [this](bool again) {
         hurry = std::exchange(stopping, true);
         for (const auto& [id, worker] : workers) {
           if (again) {
             worker->link().send(channel::Drain{});
           }
         }
         control.stop();
       }});
}

/// By whom the listening sockets will be kept: the manager, which then ends all our processes, or
/// the worker, which serves on.
void Supervisor::Impl::be_told_to_leave() {
  if (stopping) {
    return;
  }
  leaving = sys::descriptor_store() != 0 || settings.hand_over_time.count() != 0;
  log::info("SIGUSR2: {}", leaving ? "leaving to another supervisor"
                                   : "stopping, because [DEFAULT] hand_over_time is 0");
  stopping = true;
  control.stop();
}

/// What the worker goes by it reads anew by being another one.
void Supervisor::Impl::reload_all() {
  const auto read = Settings::read(settings.options);
  reload.config(read.map([](const auto& fresh) { return *fresh.config; }), [&] {
    drain_time = read->drain_time;
    log::set_debug(read->debug);
  });
  if (read) {
    replace_worker();
  }
}

void Supervisor::Impl::pass_on_debug() {
  std::ranges::for_each(workers, [](const auto& worker) { ::kill(worker.second->pid(), SIGUSR1); });
}

/// Nothing changes for anybody: programs, maps, namespaces and sockets stay as they are.
void Supervisor::Impl::leave() {
  listeners.leave();
  if (sys::descriptor_store() != 0) {
    end_workers(0ms);
  }
  for (const auto& [id, worker] : workers) {
    if (id != coming) {
      worker->let_go_of_process();
    }
  }
  workers.clear();
  if (tap) {
    tap->stop(dataplane::Leave::steering);
  }
  router->stop(dataplane::Leave::steering);
}

/// From the guests' side inwards: nothing new comes in, what is under way finishes.
void Supervisor::Impl::stop() {
  sys::notify_stopping();
  watchdog.stop();
  pause.cancel();
  ear.cancel();
  if (leaving && router) {
    leave();
    return;
  }
  if (former && !router) {  // we have changed nothing, and it serves on
    workers.clear();
    return;
  }
  if (tap) {
    tap->turn_away();
  }
  if (router) {
    router->turn_away();
  }
  stopping = true;
  end_workers(tap || router ? kArrival : 0ms);
  packets.reset();
  const bool left_behind = tap && tap->stop(dataplane::Leave::refusal);
  if (router) {
    router->stop();
  }
  if (core) {
    core->end(left_behind);
  }
}

Supervisor::Supervisor(Settings settings) : impl_(std::make_unique<Impl>(std::move(settings))) {}
Supervisor::~Supervisor() = default;

Status Supervisor::run() {
  auto& impl = *impl_;
  log::set_debug(impl.settings.debug);
  impl.obey_signals();
  const auto began = steady_clock::now();
  const auto status = impl.start();
  if (status && !impl.stopping) {
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - began);
    log::info("ready after {} ms", took.count());
    sys::notify_ready("serving");
    impl.control.run();
  }
  impl.stop();
  return status;
}

}  // namespace metatap::apps
