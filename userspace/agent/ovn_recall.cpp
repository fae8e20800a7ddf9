// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_recall.hpp"

#include <utility>

#include "agent/port_memory.hpp"
#include "metatap/address.hpp"

namespace metatap::agent {
namespace {

std::shared_ptr<const Port> kept_form(const Port& port) {
  auto kept = std::make_shared<Port>(port);
  for (auto& fixed : kept->fixed_ips) {
    fixed.subnet_id = kept->network_id;
  }
  return kept;
}

}  // namespace

bool same_guest(const OvnRecall& recall) {
  const auto& plugged = recall.before.vlan ? recall.parent : &recall.before;
  if (plugged == nullptr || recall.tap == nullptr || !recall.tap->present) {
    return false;
  }
  const auto mac = parse_mac(recall.tap->guest_mac);
  return mac && mac == parse_mac(plugged->mac_address) && !recall.tap->instance.empty() &&
         recall.tap->instance == recall.before.device_id;
}

std::shared_ptr<const Port> recalled(const OvnRecall& recall) {
  const auto* const tap = recall.tap;
  if (recall.taps_known && (tap == nullptr || !tap->present)) {
    return nullptr;
  }
  auto port = std::make_shared<Port>(recall.before);
  for (auto& fixed : port->fixed_ips) {
    fixed.subnet_id.clear();
  }
  if (tap != nullptr) {
    port->device = tap->name;
  }
  if (!same_guest(recall)) {
    port->device_id.clear();
    port->project_id.clear();
  }
  return port;
}

const Port* parent_of(const Port& port, const Inventory::Table<Port>& ports) {
  if (port.vlan && port.device) {
    for (const auto& [id, other] : ports) {
      if (!other->vlan && other->device == port.device) {
        return other.get();
      }
    }
  }
  return nullptr;
}

std::shared_ptr<const Inventory> kept_after(const Inventory& kept,
                                            const std::set<std::string, std::less<>>& touched,
                                            const Inventory& now) {
  auto after = std::make_shared<Inventory>(kept);
  bool news = false;
  for (const auto& id : touched) {
    const auto port = now.ports.find(id);
    auto form = port == now.ports.end() ? nullptr : kept_form(*port->second);
    if (const auto before = after->ports.find(id); before != after->ports.end()) {
      if (form && *form == *before->second) {
        continue;
      }
      after->ports.erase(before);
      news = true;
    }
    if (form && can_be_kept(*form)) {
      after->ports[id] = std::move(form);
      news = true;
    }
  }
  if (!news) {
    return nullptr;
  }
  ++after->revision;
  return after;
}

}  // namespace metatap::agent
