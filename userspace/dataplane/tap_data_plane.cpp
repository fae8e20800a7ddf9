// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tap_data_plane.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <thread>

#include "base/log.hpp"

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// Events tell of changes at once; a look at everything finds what they did not.
constexpr auto kLookInterval = 5s;
/// Where devices come and go all the time, a whole list of them takes some attempts.
constexpr auto kFirstLookWithin = 5s;
constexpr auto kFirstLookAgain = 5ms;

/// Sockets that would not go are tried again after so long.
constexpr auto kSweepAgain = 1s;

std::string pin_name(unsigned ifindex) {
  return fmt::format("tap_{}", ifindex);
}

}  // namespace

TapDataPlane::TapDataPlane(std::shared_ptr<Core> core, Reconciler& reconciler,
                           asio::io_context& control, GuestFrontend& frontend)
    : core_(std::move(core)),
      reconciler_(reconciler),
      keeper_(core_, reconciler, control, frontend),
      readable_(control),
      tick_(control),
      devices_(reconciler.queue, [this](const std::string& device) { return settle(device); }),
      chains_(reconciler.queue, [this](const std::string& device) { return look_at_chain(device); },
              {kQdiscIsTheirs, kQdiscIsTheirs}),
      sockets_(reconciler.queue, [this](const std::string&) { return sweep_sockets(); },
               {kSweepAgain, kSweepAgain}) {
  if (core_->programs) {
    site_.emplace(BindingSite<mt_port_key>{*core_->slots, core_->programs->maps().ports, retired_});
  }
}

TapDataPlane::~TapDataPlane() {
  if (running_) {
    stop();
  }
}

Status TapDataPlane::start(std::shared_ptr<const Inventory> inventory) {
  const auto failed = [&](Error error) {
    stop();
    return tl::make_unexpected(std::move(error).in("tap data plane"));
  };
  running_ = true;
  if (auto made = keeper_.start(); !made) {
    return failed(std::move(made.error()));
  }
  // Subscribe first, then look: what happens in between is seen twice, not missed.
  using Filters = sys::LinkMonitor::Filters;
  auto monitor = sys::LinkMonitor::open(attaches_by_filter(core_->options.attach) ? Filters::yes
                                                                                  : Filters::no);
  if (!monitor) {
    return failed(std::move(monitor.error()));
  }
  monitor_.emplace(*std::move(monitor));
  auto netlink = sys::Netlink::open();
  if (!netlink) {
    return failed(std::move(netlink.error()));
  }
  netlink_.emplace(*std::move(netlink));
  index_.emplace(std::move(inventory), core_->options.host);
  if (auto looked = look_at_first(); !looked) {
    return failed(std::move(looked.error()));
  }
  // What is pinned first: a new port must not be given the number of an old one.
  const auto left = adopt_pinned();
  if (auto led = keeper_.lead_here(); !led) {
    return failed(std::move(led.error()));
  }
  // Those that ports name come first, and then those that have no port get what numbers are left.
  devices_.clear();
  for (const bool named : {true, false}) {
    for (const auto& [name, ifindex] : ifindex_of_) {
      if (index_->points_of(name).empty() != named) {
        devices_.add(name);
      }
    }
  }
  devices_.drain();
  std::set<std::string> pins;
  for (const auto& [ifindex, hooks] : hooks_) {
    pins.insert(pin_name(ifindex));
  }
  sweep_pins(core_->programs->links_path(), {"tap_"}, pins);
  for (const unsigned ifindex : left) {
    if (hooks_on(ifindex) == nullptr) {
      remove_left_filters(ifindex, TcSide::ingress);
    }
  }
  readable_.assign(monitor_->fd());
  wait_for_links();
  wait_for_tick();
  log::info("tap data plane: {}; {} of {} ports here", where(), taps_.size() - without_port(),
            index_->claims().size());
  for (const auto& device : this->devices()) {
    if (device.state == DeviceState::elsewhere) {
      log::warn("tap {}: not port {}'s: {}", device.name, device.port_id, device.reason);
    }
  }
  return {};
}

void TapDataPlane::turn_away() {
  keeper_.turn_away();
}

/// By ifindex: those on which a guest is refused while nobody listens. The other guests of such a
/// device, a trunk's, stay as well, and go their own way by their own rows.
std::set<unsigned> TapDataPlane::refusing_devices() const {
  std::set<unsigned> refusing, claimed;
  for (const auto& [point, tap] : taps_) {
    if (tap.unknown()) {
      continue;
    }
    claimed.insert(tap.ifindex);
    const auto row = core_->slots->read(tap.binding.slot());
    if (row && (row->flags & MT_SLOT_REFUSE_DOWN) != 0) {
      refusing.insert(tap.ifindex);
    }
  }
  if (core_->options.when_down == WhenDown::refuse) {
    for (const auto& [ifindex, hooks] : hooks_) {
      if (!claimed.contains(ifindex)) {  // [dataplane] devices: nobody's, and refused
        refusing.insert(ifindex);
      }
    }
  }
  return refusing;
}

bool TapDataPlane::stop(Leave leave) {
  running_ = false;
  tick_.cancel();
  devices_.clear();
  chains_.clear();
  sockets_.clear();
  if (readable_.is_open()) {
    readable_.cancel();
    (void)readable_.release();  // the monitor owns it
  }
  monitor_.reset();
  keeper_.close_listeners();
  const auto refusing = leave == Leave::refusal ? refusing_devices() : std::set<unsigned>();
  const auto stays = [&](unsigned ifindex) {
    return leave == Leave::steering || refusing.contains(ifindex);
  };
  for (auto& [point, tap] : taps_) {
    if (stays(tap.ifindex)) {
      tap.binding.keep();
    }
  }
  std::size_t left = 0;
  for (auto& [ifindex, hooks] : hooks_) {
    if (stays(ifindex)) {
      hooks.keep();
      ++left;
    }
  }
  const auto soon = reconciler_.expedite_for(hooks_.size() - left);
  taps_.clear();
  hooks_.clear();
  keeper_.stop(leave == Leave::steering);
  return left != 0;
}

void TapDataPlane::apply(const InventoryChange& change) {
  if (!running_) {
    return;
  }
  for (const auto& device : index_->apply(change)) {
    devices_.add(device);
  }
}

// ---- devices ----

void TapDataPlane::wait_for_links() {
  readable_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error || !running_) {
                           return;
                         }
                         on_links();
                         wait_for_links();
                       });
}

void TapDataPlane::wait_for_tick() {
  tick_.expires_after(kLookInterval);
  tick_.async_wait([this](const boost::system::error_code& error) {
    if (error || !running_) {
      return;
    }
    look_again();
    wait_for_tick();
  });
}

void TapDataPlane::on_links() {
  auto batch = monitor_->read();
  if (!batch) {
    log::warn("tap data plane: {}", batch.error().message);
    return;
  }
  for (const auto& event : batch->events) {
    if (event.removed) {
      device_gone(event.link.index);
    } else {
      device_here(event.link);
    }
  }
  for (const unsigned ifindex : batch->filters_changed) {
    if (const auto name = name_of_.find(ifindex);
        name != name_of_.end() && hooks_on(ifindex) != nullptr) {
      chains_.add(name->second);
    }
  }
  if (batch->lost) {
    look_again();
  }
}

/// Without a list of the devices each port would seem to have gone, and its number with it.
Status TapDataPlane::look_at_first() {
  const auto until = std::chrono::steady_clock::now() + kFirstLookWithin;
  auto looked = look_at_all_links();
  while (!looked && looked.error().code == ErrorCode::unavailable &&
         std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kFirstLookAgain);
    looked = look_at_all_links();
  }
  return looked;
}

void TapDataPlane::look_again() {
  if (const auto looked = look_at_all_links(); !looked) {
    log::warn("tap data plane: {}", looked.error().message);
  }
  share_numbers();
}

void TapDataPlane::look_now() {
  constexpr auto kFresh = 900ms;
  keeper_.look_now();
  if (running_ && monitor_ && std::chrono::steady_clock::now() - looked_ > kFresh) {
    look_again();
  }
}

Status TapDataPlane::look_at_all_links() {
  looked_ = std::chrono::steady_clock::now();
  const auto links = netlink_->links();
  if (!links) {
    return tl::make_unexpected(links.error());
  }
  std::set<unsigned> here;
  for (const auto& link : *links) {
    here.insert(link.index);
  }
  std::vector<unsigned> gone;
  for (const auto& [ifindex, name] : name_of_) {
    if (!here.contains(ifindex)) {
      gone.push_back(ifindex);
    }
  }
  for (const auto& [ifindex, name] : name_of_) {
    if (auto* hooks = hooks_on(ifindex)) {
      switch (hooks->look(name, kQdiscIsTheirs)) {
        case Hooks::Standing::attached:
          break;
        case Hooks::Standing::bare:
          chains_.add(name);
          break;
        case Hooks::Standing::gone:  // its device went, and another has its number now
          gone.push_back(ifindex);
          break;
      }
    }
  }
  for (const unsigned ifindex : gone) {
    device_gone(ifindex);
  }
  for (const auto& link : *links) {
    device_here(link);
  }
  return {};
}

void TapDataPlane::device_here(const sys::Link& link) {
  if (const auto known = name_of_.find(link.index); known != name_of_.end()) {
    if (known->second == link.name) {
      if (guest_macs_.note(link)) {
        devices_.add(link.name);
      }
      return;
    }
    // What it was by name it is no longer.
    device_gone(link.index, true);
  }
  if (const auto other = ifindex_of_.find(link.name); other != ifindex_of_.end()) {
    device_gone(other->second);
  }
  name_of_[link.index] = link.name;
  ifindex_of_[link.name] = link.index;
  guest_macs_.note(link);
  devices_.add(link.name);
}

/// Identity goes with the device, at once; the rest comes with its name's turn.
void TapDataPlane::device_gone(unsigned ifindex, bool renamed) {
  std::erase_if(taps_, [&](const auto& tap) { return tap.second.ifindex == ifindex; });
  guest_macs_.forget(ifindex);
  keeper_.device_gone(ifindex);
  if (!renamed) {
    hooks_.erase(ifindex);
  }
  if (const auto name = name_of_.find(ifindex); name != name_of_.end()) {
    without_number_.erase(name->second);
    devices_.add(name->second);
    if (const auto index = ifindex_of_.find(name->second);
        index != ifindex_of_.end() && index->second == ifindex) {
      ifindex_of_.erase(index);
    }
    name_of_.erase(name);
  }
}

/// Number 0: there is none of that name, or it is not ours to steer.
TapDevice TapDataPlane::device_of(const std::string& name) const {
  TapDevice device;
  const auto found = ifindex_of_.find(name);
  if (found != ifindex_of_.end() && core_->options.may_steer(name) && !keeper_.owns(name)) {
    device.ifindex = found->second;
    device.given_mac = guest_macs_.given(device.ifindex);
  }
  return device;
}

// ---- a device's turn ----

Turn TapDataPlane::settle(const std::string& device) {
  const auto now = device_of(device);
  auto done = settle_points(device, now);
  // Where no program is attached, the points keep their slots: nothing comes in by them, and the
  // next turn goes on with them.
  if (auto hooked = hook(device, now.ifindex); !hooked) {
    done = std::move(hooked);
  }
  if (devices_.ready() == 0 && !retired_.empty()) {
    sockets_.add("sockets");  // one look at them for many devices
  }
  if (done) {
    errors_.erase(device);
    return Turn::done();
  }
  auto problem = fmt::format("tap {}: {}", device, done.error().message);
  if (auto& told = errors_[device]; told != done.error().message) {
    log::warn("{}", problem);
    told = std::move(done.error().message);
  }
  return Turn::failed(std::move(problem));
}

/// Attached while a point of it is steered, or as long as its name is ours.
Status TapDataPlane::hook(const std::string& device, unsigned ifindex) {
  const auto tap = taps_.lower_bound({device, 0});
  const bool wanted = ifindex != 0 && ((tap != taps_.end() && tap->first.device == device) ||
                                       core_->options.devices.has_value());
  const auto here = ifindex_of_.find(device);
  const auto hooks = here == ifindex_of_.end() ? hooks_.end() : hooks_.find(here->second);
  if (wanted == (hooks != hooks_.end())) {
    return {};
  }
  reconciler_.expect_grace_period();
  if (!wanted) {
    hooks_.erase(hooks);
    return {};
  }
  auto made =
      Hooks::attach(*core_, device, ifindex, {{"mt_tap", TcSide::ingress, pin_name(ifindex)}});
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  hooks_.emplace(ifindex, *std::move(made));
  return {};
}

Hooks* TapDataPlane::hooks_on(unsigned ifindex) {
  if (auto* return_path = keeper_.hooks_on(ifindex)) {
    return return_path;
  }
  const auto found = hooks_.find(ifindex);
  return found == hooks_.end() ? nullptr : &found->second;
}

/// A device that has gone, or whose number another has now, is told of by links.
Turn TapDataPlane::look_at_chain(const std::string& device) {
  const auto here = ifindex_of_.find(device);
  auto* hooks = here == ifindex_of_.end() ? nullptr : hooks_on(here->second);
  return hooks != nullptr && hooks->look(device, kQdiscIsTheirs) == Hooks::Standing::bare
             ? Turn::again()
             : Turn::done();
}

bool TapDataPlane::rest_retired() {
  const auto& space = keeper_.space();
  return retired_.empty() ||
         rest_if_silent(*core_->slots, retired_, space.destroy_sockets_of(retired_), space.name());
}

Turn TapDataPlane::sweep_sockets() {
  return rest_retired() ? Turn::done() : Turn::again();
}

}  // namespace metatap::dataplane
