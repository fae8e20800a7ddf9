// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/log.hpp"
#include "dataplane/router_resolver.hpp"
#include "dataplane/steering.hpp"

namespace metatap::dataplane {
namespace {

class ListenSteering final : public Steering {
 public:
  ListenSteering(const Core& core, PlaceJournal& journal, GuestFrontend& frontend)
      : Steering(core, journal, frontend) {}

  Status prepare(Place& place, const Inside& inside, const PlacePlan& plan) override {
    if (!place.resolver) {
      place.resolver = std::make_shared<AddressResolver>();
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
    device.binding = Binding<mt_device_key>(std::move(origin));
    return {};
  }

  Result<Binding<mt_source_key>> identify_port(Place&, const PlaceDevice& device,
                                               const RouterSource& source) override {
    auto origin = std::make_shared<Origin>();
    const auto& of_device = *device.binding.origin();
    origin->path = of_device.path;
    origin->port_id = source.port_id;
    origin->network_id = of_device.network_id;
    origin->router_id = of_device.router_id;
    origin->device = of_device.device;
    return Binding<mt_source_key>(std::move(origin));
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
    const auto resolver = std::static_pointer_cast<AddressResolver>(place.resolver);
    if (!resolver) {
      return;
    }
    auto table = std::make_shared<AddressTable>();
    for (const auto& [ifindex, device] : place.devices) {
      if (device.plan.enabled) {
        add(*table, device, inventory);
      }
    }
    table->sort();
    resolver->publish(std::move(table));
  }

  std::string_view attach_of(const PlaceDevice&) const override { return "listen"; }
  bool owns_metadata_port() const override { return true; }

 private:
  static void add(AddressTable& table, const PlaceDevice& device, const Inventory& inventory) {
    const unsigned ifindex = device.plan.ifindex;
    AddressTable::Device entry{ifindex, {}, device.binding.origin()};
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
      const auto origin = source.enabled ? port->second.origin() : nullptr;
      for (const auto& address : source.addresses) {
        table.known.push_back({address, 0, origin});
      }
      table.known.push_back({link_local_of(source.mac), ifindex, origin});
    }
  }
};

}  // namespace

std::unique_ptr<Steering> listen_steering(const Core& core, PlaceJournal& journal,
                                          GuestFrontend& frontend) {
  return std::make_unique<ListenSteering>(core, journal, frontend);
}

}  // namespace metatap::dataplane
