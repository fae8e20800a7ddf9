// SPDX-License-Identifier: Apache-2.0
#include "dataplane/namespace_keeper.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>

#include <chrono>
#include <limits>
#include <utility>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// The kernel tells of devices, addresses, routes and neighbours, not of all settings or listeners.
constexpr auto kLookInterval = 1s;
/// What could not be put right is tried again after so long.
constexpr WorkQueue::Lane::Backoff kTryAgain{100ms, 1s};

/// As mt_config::nsid: no namespace has this number. (Negative would be the packet's own.)
constexpr std::int32_t kNoNamespace = std::numeric_limits<std::int32_t>::max();

}  // namespace

NamespaceKeeper::NamespaceKeeper(std::shared_ptr<Core> core, Reconciler& reconciler,
                                 asio::io_context& control, GuestFrontend& frontend)
    : core_(std::move(core)),
      frontend_(frontend),
      readable_(control),
      tick_(control),
      probe_(core_, control,
             [this] {
               if (running_) {
                 lane_.add(namespace_->name());
               }
             }),
      lane_(reconciler.queue, [this](const std::string&) { return look(); }, kTryAgain) {}

NamespaceKeeper::~NamespaceKeeper() {
  if (running_) {
    stop(false);
  }
}

Status NamespaceKeeper::start() {
  running_ = true;
  if (auto made = make(); !made) {
    return made;
  }
  if (!namespace_->has_v6()) {
    log::warn("tap data plane: no IPv6 on this kernel, guests reach 169.254.169.254 only");
  }
  for (const int family : {AF_INET, AF_INET6}) {
    if (auto opened = open_listeners(family); !opened) {
      return opened;
    }
  }
  auto changes = namespace_->watch();
  if (!changes) {
    return tl::make_unexpected(std::move(changes.error()));
  }
  changes_.emplace(*std::move(changes));
  readable_.assign(changes_->fd());
  wait_for_changes();
  wait_for_tick();
  probe_.start(namespace_->has_v6(), [this] { return frontend_.listening(); });
  return {};
}

/// The namespace of the process before, with what waits and what is open in it. Only where no
/// number can have changed hands unseen: the maps are that one's, and what bears the numbers that
/// are nobody's any more can be destroyed.
Result<MetadataNamespace> NamespaceKeeper::take_over() {
  const auto& name = core_->options.namespace_name;
  const auto cookie = MetadataNamespace::cookie_of(name);
  if (cookie == 0 || !core_->programs->inherited() || !core_->inherited->any_in(cookie)) {
    return fail(ErrorCode::not_found, "nothing was handed over");
  }
  auto taken =
      MetadataNamespace::take_over(name, [&](std::uint32_t slot, std::uint32_t generation) {
        const auto row = core_->slots->read(slot);
        return row && row->kind == MT_KIND_TAP && row->generation == generation;
      });
  if (!taken) {
    log::warn("metadata namespace: {}; it is made anew, and what is open in it ends",
              taken.error().message);
    core_->inherited->end_in(cookie);
  }
  return taken;
}

Status NamespaceKeeper::make() {
  if (auto taken = take_over()) {
    namespace_.emplace(*std::move(taken));
    log::info("metadata namespace {}: taken over from the process before us", namespace_->name());
    return {};
  }
  // Programs of an earlier process may be attached, and its namespace's number be another's soon.
  if (auto nowhere = lead_nowhere(); !nowhere) {
    return nowhere;
  }
  auto made = MetadataNamespace::create(core_->options.namespace_name);
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  namespace_.emplace(*std::move(made));
  if (const auto able = namespace_->destroy_sockets_of({}); !able) {
    log::warn("tap data plane: {}; connections of a port that goes are left to their time-outs",
              able.error().message);
  }
  return {};
}

Status NamespaceKeeper::lead_nowhere() {
  auto config = core_->programs->config();
  if (!config) {
    return tl::make_unexpected(std::move(config.error()));
  }
  config->veth_ifindex = 0;
  config->nsid = kNoNamespace;
  return core_->programs->set_config(*config);
}

/// The way back first: no packet must go in before its answer can come out.
Status NamespaceKeeper::lead_here() {
  const auto ifindex = namespace_->host_ifindex();
  if (!return_path_) {
    auto made = Hooks::attach(*core_, namespace_->host_device(), ifindex,
                              {{"mt_return", TcSide::ingress, "return"}});
    if (!made) {
      return tl::make_unexpected(std::move(made.error()).in(namespace_->host_device()));
    }
    return_path_.emplace(*std::move(made));
  }
  auto config = core_->programs->config();
  if (!config) {
    return tl::make_unexpected(std::move(config.error()));
  }
  if (config->veth_ifindex == ifindex && config->nsid == namespace_->nsid()) {
    return {};
  }
  config->veth_ifindex = ifindex;
  config->nsid = namespace_->nsid();
  return core_->programs->set_config(*config);
}

Status NamespaceKeeper::open_listeners(int family) {
  if (family == AF_INET6 && !namespace_->has_v6()) {
    return {};
  }
  const auto cookie = MetadataNamespace::cookie_of(namespace_->name());
  for (unsigned worker = 0;; ++worker) {
    // All that were handed over, should there be fewer workers now: connections wait on each.
    Result<UniqueFd> fd = core_->inherited->take(cookie, MetadataNamespace::address_of(family));
    if (!*fd) {
      if (worker >= frontend_.workers()) {
        break;
      }
      fd = namespace_->listen(family);
    }
    if (!fd) {
      return tl::make_unexpected(std::move(fd.error()));
    }
    auto name = fmt::format("{}/{}:80#{}", namespace_->name(),
                            family == AF_INET ? "169.254.169.254" : "[fe80::a9fe:a9fe]", worker);
    listeners_[family].push_back(name);
    frontend_.open(
        GuestListener{*std::move(fd), std::move(name), {CallerRule::By::alias, {}}, worker});
  }
  return {};
}

void NamespaceKeeper::close_listeners() {
  for (const auto& [family, names] : std::exchange(listeners_, {})) {
    for (const auto& name : names) {
      frontend_.close(name);
    }
  }
}

void NamespaceKeeper::turn_away() {
  running_ = false;  // nothing is to be put right any more
  probe_.stop();
  lane_.clear();
  auto config = core_->programs->config();
  if (!config) {
    return;
  }
  config->flags |= MT_CONFIG_AWAY;
  if (const auto written = core_->programs->set_config(*config); !written) {
    log::warn("metadata namespace: {}", written.error().message);
  }
}

void NamespaceKeeper::stop(bool keep) {
  running_ = false;
  probe_.stop();
  tick_.cancel();
  lane_.clear();
  if (readable_.is_open()) {
    readable_.cancel();
    (void)readable_.release();  // the monitor owns it
  }
  changes_.reset();
  close_listeners();
  if (return_path_ && keep) {
    return_path_->keep();
  }
  return_path_.reset();
  if (namespace_ && !keep) {
    if (auto nowhere = lead_nowhere(); !nowhere) {
      log::warn("metadata namespace: {}", nowhere.error().message);
    }
    if (auto removed = namespace_->remove(); !removed) {
      log::warn("tap data plane: {}", removed.error().message);
    }
    namespace_.reset();
  }
}

bool NamespaceKeeper::owns(std::string_view device) const {
  return namespace_ && device == namespace_->host_device();
}

Hooks* NamespaceKeeper::hooks_on(unsigned ifindex) {
  return return_path_ && ifindex == namespace_->host_ifindex() ? &*return_path_ : nullptr;
}

void NamespaceKeeper::device_gone(unsigned ifindex) {
  if (!namespace_ || ifindex != namespace_->host_ifindex()) {
    return;
  }
  // Before another device can have that number.
  if (auto nowhere = lead_nowhere(); !nowhere) {
    log::warn("metadata namespace: {}", nowhere.error().message);
  }
  return_path_.reset();
  if (running_) {
    lane_.add(namespace_->name());
  }
}

// ---- upkeep ----

void NamespaceKeeper::look_now() {
  if (running_) {
    static_cast<void>(look());  // what is left has a turn within a second
  }
}

Turn NamespaceKeeper::look() {
  const auto before = namespace_->host_ifindex();
  auto upkeep = namespace_->keep();
  if (namespace_->host_ifindex() != before) {
    return_path_.reset();  // it was on the old pair
  } else if (return_path_ && return_path_->look(namespace_->host_device(), kQdiscIsTheirs) ==
                                 Hooks::Standing::gone) {
    return_path_.reset();
  }
  keep_listeners(upkeep);
  const bool led = return_path_.has_value();
  if (auto done = lead_here(); !done) {
    upkeep.left.push_back(std::move(done.error().message));
  } else if (!led && upkeep.found.empty()) {
    upkeep.found.emplace_back("mt_return was taken off " + namespace_->host_device());
  }
  report(upkeep);
  return upkeep.left.empty() ? Turn::done() : Turn::failed(upkeep.left.front());
}

/// `ss -K` and the like. Those of a family go together: which worker's is missing cannot be told.
void NamespaceKeeper::keep_listeners(MetadataNamespace::Upkeep& upkeep) {
  if (!frontend_.listening()) {
    return;
  }
  for (const int family : {AF_INET, AF_INET6}) {
    const std::size_t expected =
        family == AF_INET || namespace_->has_v6() ? frontend_.workers() : 0;
    const auto there = namespace_->listeners(family);
    if (!there) {
      upkeep.left.push_back(there.error().message);
      continue;
    }
    if (*there >= expected) {
      continue;
    }
    upkeep.found.push_back(fmt::format("{} of {} {} listeners are gone", expected - *there,
                                       expected, family == AF_INET ? "IPv4" : "IPv6"));
    for (const auto& name : std::exchange(listeners_[family], {})) {
      frontend_.close(name);
    }
    if (auto opened = open_listeners(family); !opened) {
      upkeep.left.push_back(std::move(opened.error().message));
    }
  }
}

void NamespaceKeeper::report(const MetadataNamespace::Upkeep& upkeep) {
  if (!upkeep.found.empty() && upkeep.left.empty()) {
    health_.last_repair = fmt::format("{}", fmt::join(upkeep.found, "; "));
    health_.repaired = std::chrono::system_clock::now();
    health_.repairs += upkeep.found.size();
    log::warn("metadata namespace {}: {}: put right", namespace_->name(), health_.last_repair);
  }
  auto problem = fmt::format("{}", fmt::join(upkeep.left, "; "));
  if (!problem.empty()) {
    problem = fmt::format("namespace {}: {}", namespace_->name(), problem);
  }
  if (problem != health_.problem) {
    if (problem.empty()) {
      log::info("metadata namespace {}: as it should be again", namespace_->name());
    } else {
      log::error("metadata {}", problem);
    }
    health_.problem = std::move(problem);
  }
}

void NamespaceKeeper::wait_for_changes() {
  readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error || !running_) {
                           return;
                         }
                         changes_->drain();
                         lane_.add(namespace_->name());
                         wait_for_changes();
                       });
}

void NamespaceKeeper::wait_for_tick() {
  tick_.expires_after(kLookInterval);
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (error || !running_) {
      return;
    }
    lane_.add(namespace_->name());
    wait_for_tick();
  });
}

}  // namespace metatap::dataplane
