// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tap_plan.hpp"

#include <algorithm>
#include <string_view>

#include "dataplane/abi_text.hpp"
#include "dataplane/guest_macs.hpp"
#include "dataplane/port_policy.hpp"
#include "metatap/port_binding.hpp"

namespace metatap::dataplane {
namespace {

constexpr std::size_t kPrefix = 11;  ///< characters of a port's id in a device's name
const std::set<std::string> kNobody;

TapPoint point_of(const Port& port) {
  return {port.device.value_or("tap" + port.id.substr(0, kPrefix)),
          static_cast<std::uint16_t>(port.vlan.value_or(0))};
}

/// `tap3f9b5c1e-00`: the beginning of a uuid, the port's own or, for a trunk's, its parent's.
bool is_made_of_an_id(std::string_view device) {
  constexpr std::string_view kTap = "tap";
  constexpr std::size_t kDash = 8;
  if (!device.starts_with(kTap) || device.size() != kTap.size() + kPrefix) {
    return false;
  }
  device.remove_prefix(kTap.size());
  for (std::size_t at = 0; at < kPrefix; ++at) {
    const char c = device[at];
    const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (at == kDash ? c != '-' : !digit) {
      return false;
    }
  }
  return true;
}

void erase_from(TapIndex::Claims& all, const TapPoint& point, const std::string& port_id) {
  if (const auto claims = all.find(point); claims != all.end()) {
    claims->second.erase(port_id);
    if (claims->second.empty()) {
      all.erase(claims);
    }
  }
}

}  // namespace

TapIndex::TapIndex(std::shared_ptr<const Inventory> inventory, std::string host)
    : inventory_(std::move(inventory)), host_(std::move(host)) {
  for (const auto& [id, port] : inventory_->ports) {
    add(id);
  }
}

void TapIndex::add(const std::string& port_id) {
  const auto port = inventory_->ports.find(port_id);
  // Ports of routers and DHCP servers are not guests.
  if (port == inventory_->ports.end() || port->second->device_owner.starts_with("network:")) {
    return;
  }
  auto point = point_of(*port->second);
  const bool told_by_name = !port->second->device || is_made_of_an_id(point.device);
  (told_by_name || may_be_at(*port->second, host_) ? claims_ : elsewhere_)[point].insert(port_id);
  point_of_.emplace(port_id, std::move(point));
}

void TapIndex::remove(const std::string& port_id) {
  const auto point = point_of_.find(port_id);
  if (point == point_of_.end()) {
    return;
  }
  erase_from(claims_, point->second, port_id);
  erase_from(elsewhere_, point->second, port_id);
  point_of_.erase(point);
}

void TapIndex::note(std::vector<std::string>& devices, const std::string& port_id) const {
  if (const auto point = point_of_.find(port_id);
      point != point_of_.end() && claims_of(point->second).contains(port_id)) {
    devices.push_back(point->second.device);
  }
}

std::vector<std::string> TapIndex::apply(const InventoryChange& change) {
  inventory_ = change.after;
  std::vector<std::string> left, come;
  for (const auto& id : change.ports) {
    note(left, id);
    remove(id);
  }
  for (const auto& id : change.ports) {
    add(id);
    note(come, id);
  }
  if (!change.networks.empty()) {
    const std::set<std::string_view> networks(change.networks.begin(), change.networks.end());
    for (const auto& [id, point] : point_of_) {
      const auto port = inventory_->ports.find(id);
      if (port != inventory_->ports.end() && networks.contains(port->second->network_id)) {
        note(come, id);
      }
    }
  }
  std::ranges::move(come, std::back_inserter(left));
  return left;
}

const std::set<std::string>& TapIndex::claims_of(const TapPoint& point) const {
  const auto found = claims_.find(point);
  return found == claims_.end() ? kNobody : found->second;
}

bool TapIndex::may_be_here(const std::string& port_id) const {
  const auto port = inventory_->ports.find(port_id);
  return port != inventory_->ports.end() && may_be_at(*port->second, host_);
}

const TapPoint* TapIndex::plugged(const std::string& port_id) const {
  const auto found = point_of_.find(port_id);
  return found == point_of_.end() ? nullptr : &found->second;
}

std::vector<TapPoint> TapIndex::points_of(std::string_view device) const {
  std::vector<TapPoint> points;
  for (auto at = claims_.lower_bound({std::string(device), 0});
       at != claims_.end() && at->first.device == device; ++at) {
    points.push_back(at->first);
  }
  return points;
}

namespace {

const Port* port_of(const TapIndex& index, const std::string& id) {
  const auto port = index.inventory().ports.find(id);
  return port == index.inventory().ports.end() ? nullptr : port->second.get();
}

/// nullptr: nobody.
const Port* winner(const TapIndex& index, const TapPoint& point, std::string_view holder) {
  const auto& claims = index.claims_of(point);
  const std::string* here = nullptr;
  for (const auto& id : claims) {
    if (index.may_be_here(id) && (here == nullptr || id == holder)) {
      here = &id;
    }
  }
  if (here == nullptr && claims.size() == 1) {
    here = &*claims.begin();
  }
  return here == nullptr ? nullptr : port_of(index, *here);
}

}  // namespace

bool is_foreign(const TapIndex& index, const TapPoint& point, const TapDevice& device,
                const Port& port) {
  if (!device.given_mac || GuestMacs::fits(*device.given_mac, port)) {
    return false;
  }
  if (point.vlan == 0) {
    return true;
  }
  // A trunk's device has the MAC of its untagged port; the others on it stand and fall with that.
  const TapPoint trunk{point.device, 0};
  const auto* untagged = winner(index, trunk, {});
  return untagged != nullptr && is_foreign(index, trunk, device, *untagged);
}

std::optional<TapPlan> plan_tap(const TapIndex& index, const TapPoint& point,
                                const TapDevice& device, std::string_view holder,
                                const DataPlaneOptions& options) {
  const auto* won = winner(index, point, holder);
  if (won == nullptr) {
    return std::nullopt;
  }
  const Port& port = *won;
  const auto& inventory = index.inventory();
  const auto network = inventory.networks.find(port.network_id);

  TapPlan plan;
  plan.port_id = port.id;
  plan.network_id = port.network_id;
  plan.enabled = port.admin_state_up &&
                 (network == inventory.networks.end() || network->second->admin_state_up);
  plan.foreign = is_foreign(index, point, device, port);
  plan.addresses = PortAddresses::of(port);
  mt_slot& row = plan.row;
  row.kind = MT_KIND_TAP;
  row.ifindex = device.ifindex;
  row.vlan = point.vlan;
  const auto flag = [&](bool set, std::uint32_t bit) { row.flags |= set ? bit : 0; };
  flag(!plan.enabled, MT_SLOT_DISABLED);
  flag(port.treatment.when_down.value_or(options.when_down) == WhenDown::refuse,
       MT_SLOT_REFUSE_DOWN);
  flag(port.address_policy == AddressPolicy::learn, MT_SLOT_LEARN);
  flag(!plan.addresses.networks.empty(), MT_SLOT_PREFIXES);
  flag(plan.addresses.any_mac, MT_SLOT_ANY_MAC);
  write(policy_of(inventory, port), options.forwarded_inside, row);
  if (const auto mac = parse_mac(port.mac_address)) {
    std::ranges::copy(*mac, row.mac);
  }
  copy_text(row.device, point.device);
  copy_text(row.port_id, port.id);
  copy_text(row.network_id, port.network_id);
  return plan;
}

TapPlan plan_unknown(const TapPoint& point, const TapDevice& device) {
  TapPlan plan;
  plan.addresses = PortAddresses::of_nobody();
  plan.row.kind = MT_KIND_TAP;
  plan.row.ifindex = device.ifindex;
  plan.row.vlan = point.vlan;
  plan.row.flags = MT_SLOT_UNKNOWN | MT_SLOT_LEARN | MT_SLOT_ANY_MAC | MT_SLOT_REFUSE_DOWN |
                   MT_SLOT_REFUSE_FORWARDED;
  copy_text(plan.row.device, point.device);
  return plan;
}

}  // namespace metatap::dataplane
