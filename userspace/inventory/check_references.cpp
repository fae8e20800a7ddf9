// SPDX-License-Identifier: Apache-2.0
#include "inventory/check_references.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "inventory/json_reader.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

using json::in_quotes;

/// What has to be looked at: everything, or only what the document's objects may have broken.
class Scope {
 public:
  Scope() = default;
  Scope(const Inventory& base, const Inventory& inventory, const DocumentPlaces& places)
      : everything_(false) {
    for (const auto& id : places.ids("networks")) {
      networks_.insert(id);
    }
    for (const auto& id : places.ids("subnets")) {
      for (const auto* subnets : {&base.subnets, &inventory.subnets}) {
        if (const auto subnet = subnets->find(id); subnet != subnets->end()) {
          networks_.insert(subnet->second->network_id);
        }
      }
    }
    for (const auto& id : places.ids("ports")) {
      ports_.insert(inventory.ports.at(id).get());
    }
  }
  [[nodiscard]] bool everything() const { return everything_; }
  /// Networks that are another than before, or whose subnets are.
  [[nodiscard]] bool has(const std::string& network) const {
    return everything_ || (!networks_.empty() && networks_.contains(network));
  }
  [[nodiscard]] bool any_network() const { return !networks_.empty(); }
  /// Ports that are new or another than before.
  [[nodiscard]] const std::unordered_set<const Port*>& ports() const { return ports_; }

 private:
  bool everything_ = true;
  std::set<std::string, std::less<>> networks_;
  std::unordered_set<const Port*> ports_;
};

class Checker {
 public:
  Checker(const Inventory& inventory, const DocumentPlaces& places, const Scope& scope,
          json::Mistakes& mistakes)
      : inventory_(inventory), places_(places), scope_(scope), mistakes_(mistakes) {}

  void run() {
    for (const auto& [id, subnet] : inventory_.subnets) {
      if (scope_.has(subnet->network_id) && places_.good("subnets", id) &&
          !inventory_.networks.contains(subnet->network_id)) {
        refuse("subnets", id, "/network_id",
               "there is no network " + in_quotes(subnet->network_id));
      }
    }
    if (scope_.everything()) {
      // In the document's order: of two claims the second is at fault.
      for (const auto& id : places_.ids("ports")) {
        const Port& port = *inventory_.ports.at(id);
        check(port);
        claim_all(port);
      }
    } else {
      check_change();
    }
    check_ec2_ids();
  }

 private:
  /// Something of one port's, which the other may not have as well.
  struct Claim {
    const Port* port = nullptr;
    std::string member;  ///< of the port in the document
  };
  /// By network, where it is the network's, and value.
  using Claims = std::map<std::pair<std::string_view, std::string_view>, Claim>;

  void refuse(std::string_view table, const std::string& id, std::string_view member,
              const std::string& reason) const {
    mistakes_.add(places_.pointer(table, id, member), reason);
  }
  void refuse_claim(const Port& port, const std::string& member, const std::string& what,
                    const Port& owner) const {
    refuse("ports", port.id, member, what + " is port " + owner.id + "'s already");
  }

  /// What changed claims first, so that it is at fault; the others, however many, are held against
  /// the few claims there are.
  void check_change() {
    for (const auto& id : places_.ids("ports")) {
      const Port& port = *inventory_.ports.at(id);
      check(port);
      claim_all(port);
    }
    if (scope_.ports().empty() && !scope_.any_network()) {
      return;
    }
    for (const auto& [id, port] : inventory_.ports) {
      if (scope_.has(port->network_id)) {
        check(*port);
      }
      if (!scope_.ports().contains(port.get())) {
        respect(*port);
      }
    }
  }

  /// It goes into headers, and ids are what others look it up by.
  static bool is_id(std::string_view text) {
    constexpr std::size_t kLongest = 255;  // Neutron's column
    return text.size() <= kLongest &&
           std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
  }

  /// What the port says of itself and refers to.
  void check(const Port& port) {
    if (!places_.good("ports", port.id)) {
      return;
    }
    for (const auto& [member, id] :
         {std::pair("/device_id", &port.device_id), std::pair("/project_id", &port.project_id)}) {
      if (!is_id(*id)) {
        refuse("ports", port.id, member, in_quotes(*id) + " is not an id");
      }
    }
    if (!inventory_.networks.contains(port.network_id)) {
      refuse("ports", port.id, "/network_id", "there is no network " + in_quotes(port.network_id));
    }
    for (std::size_t index = 0; index < port.fixed_ips.size(); ++index) {
      check(port, port.fixed_ips[index], "/fixed_ips/" + std::to_string(index));
    }
  }
  void check(const Port& port, const FixedIp& fixed, const std::string& member) {
    if (fixed.subnet_id.empty()) {
      refuse("ports", port.id, member,
             "\"subnet_id\" is required: not one alone of the network's subnets has " +
                 fixed.ip_address);
      return;
    }
    const auto subnet = inventory_.subnets.find(fixed.subnet_id);
    if (subnet == inventory_.subnets.end()) {
      refuse("ports", port.id, member + "/subnet_id",
             "there is no subnet " + in_quotes(fixed.subnet_id));
      return;
    }
    if (!places_.good("subnets", subnet->first)) {
      return;
    }
    if (subnet->second->network_id != port.network_id) {
      refuse("ports", port.id, member + "/subnet_id",
             "subnet " + fixed.subnet_id + " is of network " + subnet->second->network_id +
                 ", the port of " + port.network_id);
      return;
    }
    const auto address = Address::parse(fixed.ip_address);
    const auto prefix = Prefix::parse(subnet->second->cidr);
    if (!address || !prefix || !prefix->contains(*address)) {
      refuse("ports", port.id, member + "/ip_address",
             fixed.ip_address + " is not within " + subnet->second->cidr);
    }
  }

  static std::string device_name(const Port& port) {
    return "device " + *port.device + (port.vlan ? ", vlan " + std::to_string(*port.vlan) : "");
  }
  static std::string in_network(const std::string& what, const Port& port) {
    return what + " of network " + port.network_id;
  }

  void claim(Claims& claims, std::string_view network, std::string_view value, const Port& port,
             std::string member, const std::string& what) {
    const auto [owner, fresh] = claims.try_emplace({network, value}, Claim{&port, member});
    if (!fresh) {
      refuse_claim(port, member, what, *owner->second.port);
    }
  }
  void claim_all(const Port& port) {
    if (!port.mac_address.empty()) {
      claim(macs_, port.network_id, port.mac_address, port, "/mac_address",
            in_network(port.mac_address, port));
    }
    for (std::size_t index = 0; index < port.fixed_ips.size(); ++index) {
      const auto& address = port.fixed_ips[index].ip_address;
      claim(addresses_, port.network_id, address, port,
            "/fixed_ips/" + std::to_string(index) + "/ip_address", in_network(address, port));
    }
    if (port.device) {
      const auto& vlan = vlans_.emplace_back(port.vlan ? std::to_string(*port.vlan) : "");
      claim(devices_, vlan, *port.device, port, "/device", device_name(port));
    }
  }

  /// A port that stays as it is: nothing of its may have been claimed.
  void respect(const Port& port) const {
    const auto claimed = [](const Claims& claims, std::string_view network,
                            std::string_view value) -> const Claim* {
      const auto found = claims.find({network, value});
      return found == claims.end() ? nullptr : &found->second;
    };
    if (const auto* by = claimed(macs_, port.network_id, port.mac_address)) {
      refuse_claim(*by->port, by->member, in_network(port.mac_address, port), port);
    }
    for (const auto& fixed : port.fixed_ips) {
      if (const auto* by = claimed(addresses_, port.network_id, fixed.ip_address)) {
        refuse_claim(*by->port, by->member, in_network(fixed.ip_address, port), port);
      }
    }
    if (port.device && !devices_.empty()) {
      if (const auto* by =
              claimed(devices_, port.vlan ? std::to_string(*port.vlan) : "", *port.device)) {
        refuse_claim(*by->port, by->member, device_name(port), port);
      }
    }
  }

  void check_ec2_ids() const {
    std::unordered_map<std::string_view, std::string_view> owners;
    const auto claim_id = [&](const std::string& uuid, const Instance& instance) {
      if (const auto& id = instance.ec2_ids.instance_id) {
        const auto [owner, fresh] = owners.try_emplace(*id, uuid);
        if (!fresh && owner->second != uuid) {
          refuse("instances", uuid, "/ec2_ids/instance_id",
                 *id + " is instance " + std::string(owner->second) + "'s already");
        }
      }
    };
    if (scope_.everything()) {
      for (const auto& [uuid, instance] : inventory_.instances) {
        claim_id(uuid, *instance);
      }
      return;
    }
    for (const auto& uuid : places_.ids("instances")) {
      claim_id(uuid, *inventory_.instances.at(uuid));
    }
    if (owners.empty()) {
      return;
    }
    for (const auto& [uuid, instance] : inventory_.instances) {
      if (const auto& id = instance->ec2_ids.instance_id) {
        const auto owner = owners.find(*id);
        if (owner != owners.end() && owner->second != uuid) {
          refuse("instances", std::string(owner->second), "/ec2_ids/instance_id",
                 *id + " is instance " + uuid + "'s already");
        }
      }
    }
  }

  const Inventory& inventory_;
  const DocumentPlaces& places_;
  const Scope& scope_;
  json::Mistakes& mistakes_;
  Claims addresses_, macs_, devices_;
  std::deque<std::string> vlans_;  // as text, for the claims to refer to
};

}  // namespace

void check_references(const Inventory& inventory, const DocumentPlaces& places,
                      json::Mistakes& mistakes) {
  Checker(inventory, places, Scope(), mistakes).run();
}

void check_references(const Inventory& inventory, const DocumentPlaces& places,
                      const Inventory& base, json::Mistakes& mistakes) {
  Checker(inventory, places, Scope(base, inventory, places), mistakes).run();
}

}  // namespace metatap
