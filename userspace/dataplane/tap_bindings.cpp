// SPDX-License-Identifier: Apache-2.0
// Who has which point of a tap: what a device's turn comes to, and what a restart finds.
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "dataplane/tap_data_plane.hpp"
#include "sys/link_instance.hpp"

namespace metatap::dataplane {
namespace {

mt_port_key key_of(unsigned ifindex, std::uint16_t vlan) {
  return mt_port_key{ifindex, vlan, 0};
}

/// As mt_slot has it.
std::uint32_t plug_of(const Origin& origin) {
  return static_cast<std::uint32_t>(origin.plug);
}

/// Also says in the plan's row which plugging-in of the device that is.
std::shared_ptr<Origin> origin_of(const TapPoint& point, TapPlan& plan) {
  auto origin = std::make_shared<Origin>();
  origin->path = Path::tap;
  origin->port_id = plan.port_id;
  origin->network_id = plan.network_id;
  origin->device = point.device;
  origin->plug = sys::link_instance(point.device, plan.row.ifindex);
  plan.row.plug = plug_of(*origin);
  return origin;
}

}  // namespace

/// Whoever waits on a device goes on as its port, if the device is still what it was.
bool TapDataPlane::goes_on(const Tap& tap, const TapPlan& plan, const TapDevice& device) const {
  if (plan.foreign || tap.ifindex != device.ifindex || tap.enabled != plan.enabled) {
    return false;
  }
  return tap.unknown() ? tap.given_mac == device.given_mac
                       : tap.port_id == plan.port_id && tap.network_id == plan.network_id;
}

/// Ours by its name, and so far no port's.
bool TapDataPlane::may_wait_for_a_port(const std::string& device, const TapDevice& now) const {
  return core_->options.devices && now.ifindex != 0 && index_->points_of(device).empty();
}

/// First lets go, then takes.
Status TapDataPlane::settle_points(const std::string& device, const TapDevice& now) {
  std::map<TapPoint, TapPlan> plans;
  for (const auto& point : index_->points_of(device)) {
    const auto held = taps_.find(point);
    if (auto plan = plan_tap(*index_, point, now, held == taps_.end() ? "" : held->second.port_id,
                             core_->options)) {
      plans.emplace(point, *std::move(plan));
    }
  }
  if (may_wait_for_a_port(device, now)) {
    plans.emplace(TapPoint{device, 0}, plan_unknown({device, 0}, now));
  }
  for (auto at = taps_.lower_bound({device, 0}); at != taps_.end() && at->first.device == device;) {
    const auto plan = plans.find(at->first);
    at = plan != plans.end() && goes_on(at->second, plan->second, now) ? std::next(at)
                                                                       : taps_.erase(at);
  }
  Status done;
  for (auto& [point, plan] : plans) {
    if (!plan.foreign) {
      foreign_.erase(point);
    } else if (foreign_.insert(point).second) {
      log::warn("tap {}: not port {}'s: the device was given {}", device, plan.port_id,
                to_string(now.given_mac.value_or(MacAddress{})));
    }
    if (plan.foreign || now.ifindex == 0) {
      continue;
    }
    if (auto one = settle_point(point, std::move(plan), now); !one && done) {
      done = std::move(one);
    }
  }
  return done;
}

Status TapDataPlane::settle_point(const TapPoint& point, TapPlan plan, const TapDevice& device) {
  const auto held = taps_.find(point);
  if (held == taps_.end()) {
    return bind(point, std::move(plan), device);
  }
  if (held->second.port_id != plan.port_id) {
    return name(held, std::move(plan), device);
  }
  held->second.left_out = plan.addresses.left_out;
  plan.row.plug = plug_of(*held->second.binding.origin());
  return held->second.binding.update(plan.row, std::move(plan.addresses));
}

/// Connections that were opened before it was known whose the device is are the port's, if all that
/// came in by then might have come from it; else they end.
Status TapDataPlane::name(Taps::iterator tap, TapPlan plan, const TapDevice& device) {
  const TapPoint point = tap->first;
  auto& binding = tap->second.binding;
  const auto origin = origin_of(point, plan);
  if (origin->plug == binding.origin()->plug) {
    auto named = binding.name(plan.row, origin, plan.addresses);
    if (named) {
      log::debug("tap {}: slot {} is port {} from now on", point.device, binding.slot(),
                 plan.port_id);
      Tap known(plan, device);
      known.binding = std::move(binding);
      tap->second = std::move(known);
      return {};
    }
    log::info("tap {}: connections end as port {} comes: {}", point.device, plan.port_id,
              named.error().message);
  }
  taps_.erase(tap);
  return bind(point, std::move(plan), device);
}

Status TapDataPlane::bind(const TapPoint& point, TapPlan plan, const TapDevice& device) {
  if (plan.port_id.empty() && !core_->slots->allocator().to_spare()) {
    without_number_.insert(point.device);
    return {};  // refused, as unknown_port
  }
  Tap tap(plan, device);
  const auto origin = origin_of(point, plan);
  auto made = Binding<mt_port_key>::make(*site_, plan.row, origin, std::move(plan.addresses));
  if (!made) {
    return tl::make_unexpected(std::move(made.error()));
  }
  tap.binding = *std::move(made);
  if (auto led = tap.binding.lead(key_of(tap.ifindex, point.vlan)); !led) {
    return led;
  }
  log::debug("tap {}: {} {} is slot {}", point.device, tap.unknown() ? "no port" : "port",
             tap.port_id, tap.binding.slot());
  taps_.emplace(point, std::move(tap));
  without_number_.erase(point.device);
  return {};
}

/// Devices without a port have the numbers that ports leave. They give some back when ports that
/// come have taken of what is kept for them, and get some when others go.
void TapDataPlane::share_numbers() {
  const auto& numbers = core_->slots->allocator();
  for (auto tap = taps_.begin();
       tap != taps_.end() && numbers.coming() + retired_.size() < numbers.kept();) {
    if (tap->second.unknown()) {
      log::info("tap {}: no port has it, and ports need its number", tap->first.device);
      without_number_.insert(tap->first.device);
      tap = taps_.erase(tap);
      sockets_.add("sockets");
    } else {
      ++tap;
    }
  }
  if (!without_number_.empty() && numbers.to_spare()) {
    for (const auto& device : std::exchange(without_number_, {})) {
      devices_.add(device);
    }
  }
}

/// Rows that an earlier process left for the same port on the same device go on; all others go.
std::set<unsigned> TapDataPlane::adopt_pinned() {
  const auto& ports = core_->programs->maps().ports;
  const auto same = [](const mt_slot& row, const TapPlan& plan) {
    // An ifindex may be another device's by now. A row of an older program does not say it.
    const bool same_device = row.plug == plan.row.plug || (row.plug == 0 && !plan.port_id.empty());
    return same_device && row.ifindex == plan.row.ifindex && row.vlan == plan.row.vlan &&
           std::string_view(row.port_id) == plan.port_id &&
           std::string_view(row.network_id) == plan.network_id;
  };
  std::vector<mt_port_key> stale;
  const auto read = ports.each([&](const mt_port_key& key, std::uint32_t slot) {
    const auto row = core_->slots->read(slot);
    if (!row || row->kind != MT_KIND_TAP || row->ifindex != key.ifindex || row->vlan != key.vlan) {
      stale.push_back(key);
      return;
    }
    const TapPoint point{row->device, row->vlan};
    const auto device = device_of(point.device);
    auto plan = (row->flags & MT_SLOT_UNKNOWN) == 0
                    ? plan_tap(*index_, point, device, row->port_id, core_->options)
                : core_->options.devices ? std::optional(plan_unknown(point, device))
                                         : std::nullopt;
    const auto origin = plan ? origin_of(point, *plan) : nullptr;
    if (plan && !plan->foreign && same(*row, *plan)) {
      Tap tap(*plan, device);
      auto adopted =
          Binding<mt_port_key>::adopt(*site_, slot, plan->row, origin, std::move(plan->addresses));
      if (adopted && adopted->lead(key)) {
        tap.binding = *std::move(adopted);
        taps_.emplace(point, std::move(tap));
        return;
      }
      log::warn("tap {}: slot {} does not go on: {}", point.device, slot,
                adopted ? "its key cannot be written" : adopted.error().message);
    }
    stale.push_back(key);
  });
  if (!read) {
    log::warn("tap data plane: {}", read.error().message);
  }
  std::set<unsigned> left;
  for (const auto& key : stale) {
    left.insert(key.ifindex);
    if (const auto gone = ports.erase(key); !gone) {
      log::warn("tap data plane: {}", gone.error().message);
    }
  }
  retired_.merge(core_->slots->drop_orphans(
      [](std::uint32_t, const mt_slot& row) { return row.kind == MT_KIND_TAP; }));
  if (!rest_retired()) {
    sockets_.add("sockets");
  }
  return left;
}

}  // namespace metatap::dataplane
