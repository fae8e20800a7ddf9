// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <utility>

#include "base/log.hpp"
#include "dataplane/steering.hpp"

namespace metatap::dataplane {
namespace {

class ListenSteering final : public Steering {
 public:
  ListenSteering(const Core& core, PlaceJournal& journal, GuestFrontend& frontend)
      : Steering(core, journal, frontend) {}

  Status prepare(Place& place, const Inside& inside, const PlacePlan& plan) override {
    if (!place.device_site) {
      place.device_site.emplace(
          BindingSite<mt_device_key>{*core_.slots, no_keys<mt_device_key>(), place.retired});
      place.source_site.emplace(
          BindingSite<mt_source_key>{*core_.slots, no_keys<mt_source_key>(), place.retired});
    }
    if (auto added = add_metadata_addresses(place, inside, plan); !added) {
      return added;
    }
    for (const auto& link : inside.links) {
      // The external side must not hear that the metadata address is here.
      if (!link.name.starts_with("qg-")) {
        continue;
      }
      if (const auto set = journal_.set_sysctl(
              place.cookie, fmt::format("net/ipv4/conf/{}/arp_ignore", link.name), "1");
          !set) {
        log::warn("{}: {}", place.name, set.error().message);
      }
    }
    if (auto opened = open_listener(place, metadata_v4(), {metadata_v4()}); !opened) {
      return opened;
    }
    for (const auto& device : plan.devices) {
      if (!device.v6 || place.without_v6) {
        continue;
      }
      if (const auto opened = open_listener(place, metadata_v6(), {metadata_v6(), device.ifindex});
          !opened) {
        say_without_v6(place, opened.error());
      }
    }
    return {};
  }

  bool goes_on(PlaceDevice& device, const RouterDevice& wanted) const override {
    return device.plan.v6 == wanted.v6;  // the listeners are other ones
  }

  Status identify(Place& place, PlaceDevice& device) override {
    auto origin = std::make_shared<Origin>();
    origin->path = place.what.path;
    origin->network_id = device.plan.network_id;
    origin->router_id = device.plan.router_id;
    origin->device = device.plan.name;
    auto made = Binding<mt_device_key>::make(*place.device_site, mt_slot{}, std::move(origin));
    if (!made) {
      return tl::make_unexpected(std::move(made.error()));
    }
    device.binding = *std::move(made);
    return {};
  }

  Result<Binding<mt_source_key>> identify_port(Place& place, const PlaceDevice& device,
                                               const RouterSource& source) override {
    auto origin = std::make_shared<Origin>();
    const auto& of_device = *device.binding.origin();
    origin->path = of_device.path;
    origin->port_id = source.port_id;
    origin->network_id = of_device.network_id;
    origin->router_id = of_device.router_id;
    origin->device = of_device.device;
    return Binding<mt_source_key>::make(*place.source_site, mt_slot{}, std::move(origin));
  }

  Status connect(Place&, PlaceDevice&) override { return {}; }

  void disconnect(Place& place, PlaceDevice& device, bool) override {
    std::erase_if(place.listeners, [&](const auto& listener) {
      if (listener.second != device.plan.ifindex) {
        return false;
      }
      frontend_.close(listener.first);
      return true;
    });
  }

  /// Who is who, by address.
  void publish(Place& place, const Inventory& inventory) override {
    if (place.listeners.empty()) {
      return;
    }
    AddressTable table;
    for (const auto& [ifindex, device] : place.devices) {
      if (device.plan.enabled) {
        add(table, device, inventory);
      }
    }
    table.sort();
    frontend_.publish(place.what, std::move(table));
  }

  /// Nothing but the table of callers knows a number here: it rests as soon as it is nobody's.
  bool end_connections(Place& place) override {
    for (const auto slot : std::exchange(place.retired, {})) {
      core_.slots->rest(slot);
    }
    return true;
  }

  std::string_view attach_of(const PlaceDevice&) const override { return "listen"; }
  bool owns_metadata_port() const override { return true; }

 protected:
  CallerRule::By callers_by() const override { return CallerRule::By::address; }

 private:
  /// Without programs there is nobody who would look for a key.
  template <class Key>
  static BpfMap<Key, std::uint32_t> no_keys() {
    return BpfMap<Key, std::uint32_t>(nullptr);
  }
  static AddressTable::Tenant tenant_of(const std::shared_ptr<Origin>& origin) {
    return origin ? AddressTable::Tenant{origin->slot, origin->owner} : AddressTable::Tenant{};
  }

  static void add(AddressTable& table, const PlaceDevice& device, const Inventory& inventory) {
    const unsigned ifindex = device.plan.ifindex;
    AddressTable::Device entry{ifindex, {}, tenant_of(device.binding.origin())};
    for (const auto& [id, subnet] : inventory.subnets) {
      if (subnet->network_id == device.plan.network_id) {
        if (const auto cidr = Prefix::parse(subnet->cidr)) {
          entry.subnets.push_back(*cidr);
        }
      }
    }
    table.devices.push_back(std::move(entry));
    for (const auto& source : device.plan.sources) {
      const auto port = device.ports.find(source.port_id);
      if (port == device.ports.end()) {
        continue;
      }
      const auto tenant =
          source.enabled ? tenant_of(port->second.origin()) : AddressTable::Tenant{};
      for (const auto& address : source.addresses) {
        table.known.push_back({address, 0, tenant});
      }
      table.known.push_back({link_local_of(source.mac), ifindex, tenant});
    }
  }
};

}  // namespace

std::unique_ptr<Steering> listen_steering(const Core& core, PlaceJournal& journal,
                                          GuestFrontend& frontend) {
  return std::make_unique<ListenSteering>(core, journal, frontend);
}

}  // namespace metatap::dataplane
