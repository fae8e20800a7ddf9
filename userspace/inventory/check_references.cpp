// SPDX-License-Identifier: Apache-2.0
#include "inventory/check_references.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "inventory/json_reader.hpp"
#include "metatap/address.hpp"
#include "metatap/port_binding.hpp"

namespace metatap {
namespace {

using json::in_quotes;

/// What has to be looked at: everything, or only what the document's objects may have broken.
class Scope {
 public:
  Scope() = default;
  Scope(const Inventory& base, const Inventory& inventory, const PortIndex& index,
        const DocumentPlaces& places)
      : index_(&index) {
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
  }
  [[nodiscard]] bool everything() const { return index_ == nullptr; }
  /// Networks that are another than before, or whose subnets are.
  [[nodiscard]] bool has(const std::string& network) const {
    return everything() || networks_.contains(network);
  }
  [[nodiscard]] bool any_network() const { return everything() || !networks_.empty(); }
  /// The ports as they were before; not where everything is looked at.
  [[nodiscard]] const PortIndex& index() const { return *index_; }

 private:
  const PortIndex* index_ = nullptr;
  std::set<std::string, std::less<>> networks_;
};

class Checker {
 public:
  Checker(const Inventory& inventory, const DocumentPlaces& places, const Scope& scope,
          json::Mistakes& mistakes)
      : inventory_(inventory), places_(places), scope_(scope), mistakes_(mistakes) {}

  void run() {
    check_subnets();
    // In the document's order: of two claims the second is at fault, or the one that comes anew.
    for (const auto& id : places_.ids("ports")) {
      const Port& port = *inventory_.ports.at(id);
      check(port);
      claim_all(port);
    }
    if (!scope_.everything()) {
      check_others();
    }
    check_ec2_ids();
  }

 private:
  /// What one port alone may have, as PortIndex has it; a device, one port of each host.
  using Claim = std::tuple<PortIndex::By, std::string, std::string>;
  struct Claimed {
    const Port* port = nullptr;
    std::string member;  ///< of the port in the document
  };

  void refuse(std::string_view table, const std::string& id, std::string_view member,
              const std::string& reason) const {
    mistakes_.add(places_.pointer(table, id, member), reason);
  }
  void refuse_claim(const Claim& claim, const Claimed& claimed, const Port& owner) const {
    const auto& [by, scope, value] = claim;
    const auto what = by != PortIndex::By::device ? value + " of network " + scope
                      : scope.empty()             ? "device " + value
                                                  : "device " + value + ", vlan " + scope;
    refuse("ports", claimed.port->id, claimed.member, what + " is port " + owner.id + "'s already");
  }

  void check_subnets() const {
    if (!scope_.any_network()) {
      return;
    }
    for (const auto& [id, subnet] : inventory_.subnets) {
      if (scope_.has(subnet->network_id) && places_.good("subnets", id) &&
          !inventory_.networks.contains(subnet->network_id)) {
        refuse("subnets", id, "/network_id",
               "there is no network " + in_quotes(subnet->network_id));
      }
    }
  }

  /// The ports that are as they were: their networks may not be, and nothing of theirs may have
  /// been claimed.
  void check_others() {
    if (scope_.any_network()) {
      for (const auto& [id, port] : inventory_.ports) {
        if (scope_.has(port->network_id) && !places_.has("ports", id)) {
          check(*port);
        }
      }
    }
    for (const auto& entry : claims_) {
      const auto& [by, scope, value] = entry.first;
      scope_.index().each(by, scope, value, [&](const Port& other) {
        if (!places_.has("ports", other.id) && collide(by, *entry.second.port, other)) {
          refuse_claim(entry.first, entry.second, other);
        }
      });
    }
  }

  static constexpr std::size_t kLongest = 255;  ///< Neutron's columns

  /// It goes into headers, and ids are what others look it up by.
  static bool is_id(std::string_view text) {
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
    for (const auto& [member, text] :
         {std::pair("/device_owner", &port.device_owner), std::pair("/binding:host_id", &port.host),
          std::pair("/binding:profile", &port.next_host)}) {
      if (text->size() > kLongest) {
        refuse("ports", port.id, member, "longer than 255 characters");
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

  /// Whether it cannot be both ports'.
  static bool collide(PortIndex::By by, const Port& one, const Port& other) {
    return by != PortIndex::By::device || may_meet(one, other);
  }

  void claim_all(const Port& port) {
    std::size_t addresses = 0;
    PortIndex::keys(port, [&](PortIndex::By by, std::string_view scope, std::string_view value) {
      using enum PortIndex::By;
      if (by == owner) {
        return;  // who may have several
      }
      auto member = by == mac      ? "/mac_address"
                    : by == device ? "/device"
                                   : "/fixed_ips/" + std::to_string(addresses++) + "/ip_address";
      Claim claim(by, scope, value);
      const auto [first, last] = claims_.equal_range(claim);
      const auto earlier = std::find_if(
          first, last, [&](const auto& entry) { return collide(by, port, *entry.second.port); });
      if (earlier != last) {
        refuse_claim(claim, {&port, std::move(member)}, *earlier->second.port);
      } else {
        claims_.emplace(std::move(claim), Claimed{&port, std::move(member)});
      }
    });
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
  std::multimap<Claim, Claimed> claims_;
};

}  // namespace

void check_references(const Inventory& inventory, const DocumentPlaces& places,
                      json::Mistakes& mistakes) {
  Checker(inventory, places, Scope(), mistakes).run();
}

void check_references(const Inventory& inventory, const DocumentPlaces& places,
                      const Inventory& base, const PortIndex& index, json::Mistakes& mistakes) {
  Checker(inventory, places, Scope(base, inventory, index, places), mistakes).run();
}

}  // namespace metatap
