// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "dataplane/abi_text.hpp"
#include "dataplane/port_policy.hpp"
#include "dataplane/router_leftovers.hpp"
#include "dataplane/steering.hpp"

namespace metatap::dataplane {
namespace {

std::shared_ptr<Origin> origin_of(const Place& place, const RouterDevice& device) {
  auto origin = std::make_shared<Origin>();
  origin->path = place.what.path;
  origin->network_id = device.network_id;
  origin->router_id = device.router_id;
  origin->device = device.name;
  return origin;
}

mt_slot row_of(const RouterDevice& device, mt_kind kind, bool enabled) {
  mt_slot row{};
  row.kind = kind;
  row.flags = enabled ? 0 : MT_SLOT_DISABLED;
  row.ifindex = device.ifindex;
  copy_text(row.device, device.name);
  copy_text(row.network_id, device.network_id);
  copy_text(row.router_id, device.router_id);
  return row;
}

mt_source_key key_of(std::uint32_t device_slot, std::uint32_t family, const std::uint8_t* bytes,
                     std::size_t size) {
  mt_source_key key{device_slot, family, {}};
  std::copy_n(bytes, size, key.address);
  return key;
}

std::vector<mt_source_key> keys_of(std::uint32_t device_slot, const RouterSource& source) {
  std::vector<mt_source_key> keys;
  for (const auto& address : source.addresses) {
    keys.push_back(key_of(device_slot, address.family == AF_INET ? MT_FAMILY_V4 : MT_FAMILY_V6,
                          address.bytes.data(), address.size()));
  }
  if (source.mac != MacAddress{}) {
    keys.push_back(key_of(device_slot, MT_FAMILY_MAC, source.mac.data(), source.mac.size()));
  }
  return keys;
}

std::string pin_of(const Place& place, unsigned ifindex, std::string_view side) {
  std::string id = place.what.id;
  std::erase_if(id, [](char c) { return c == '.' || c == '/'; });
  return fmt::format("{}_{}_{}_{}", place.what.path == Path::router ? "qrouter" : "qdhcp", id,
                     ifindex, side);
}

class BpfSteering final : public Steering {
 public:
  BpfSteering(std::shared_ptr<Core> core, Reconciler& reconciler, PlaceJournal& journal,
              GuestFrontend& frontend)
      : Steering(*core, journal, frontend), shared_(std::move(core)), reconciler_(reconciler) {}

  /// Without listeners that were handed over: what is still there gets new rows. Programs that are
  /// attached find nothing, which leaves the guests to whoever served them before.
  std::uint32_t look_at_leftovers() override {
    if (!core_.inherited->empty()) {
      if (auto left = RouterLeftovers::read(maps())) {
        leftovers_ = *std::move(left);
        return leftovers_.first_free_place();
      } else {
        log::warn("router data plane: {}; connections that wait are lost", left.error().message);
        core_.inherited->end_all();
      }
    }
    for (const auto& cleared : {maps().devices.clear(), maps().sources.clear()}) {
      if (!cleared) {
        log::warn("router data plane: {}", cleared.error().message);
      }
    }
    rest(leftovers_.let_all_go(maps(), *core_.slots));
    return leftovers_.first_free_place();
  }

  Status prepare(Place& place, const Inside& inside, const PlacePlan& plan) override {
    if (!place.device_site) {
      place.device_site.emplace(
          BindingSite<mt_device_key>{*core_.slots, maps().devices, place.retired});
      place.source_site.emplace(
          BindingSite<mt_source_key>{*core_.slots, maps().sources, place.retired});
    }
    if (auto made = make_way(place, inside); !made) {
      return made;
    }
    const int filter = core_.programs->program("mt_tagged");
    if (auto opened = open_listener(place, metadata_v4(), {inner_v4(), 0, filter}); !opened) {
      return opened;
    }
    if (std::ranges::any_of(plan.devices, &RouterDevice::v6) && !place.without_v6) {
      auto opened = make_own(place, inside, inner_v6());
      if (opened) {
        opened = open_listener(place, metadata_v6(), {inner_v6(), 0, filter});
      }
      if (!opened) {
        say_without_v6(place, opened.error());
      }
    }
    // Neutron gives the address to the DHCP port only where its own proxy runs.
    return place.what.path == Path::dhcp ? add_metadata_addresses(place, inside, plan) : Status();
  }

  bool goes_on(PlaceDevice& device, const RouterDevice&) const override {
    return !device.hooks || device.hooks->look(device.plan.name) == Hooks::Standing::attached;
  }

  Status identify(Place& place, PlaceDevice& device) override {
    auto row = row_of(device.plan, MT_KIND_ROUTER_DEVICE, device.plan.enabled);
    copy_text(row.port_id, device.plan.port_id);
    auto origin = origin_of(place, device.plan);
    const auto left =
        leftovers_.take_device(*core_.slots, {place.former, device.plan.ifindex}, row);
    auto made = left ? Binding<mt_device_key>::adopt(*place.device_site, *left, row, origin)
                     : Binding<mt_device_key>::make(*place.device_site, row, origin);
    if (!made) {
      return tl::make_unexpected(std::move(made.error()));
    }
    device.binding = *std::move(made);
    return {};
  }

  Result<Binding<mt_source_key>> identify_port(Place& place, const PlaceDevice& device,
                                               const RouterSource& source) override {
    auto row = row_of(device.plan, MT_KIND_ROUTER_PORT, source.enabled);
    row.device_slot = device.binding.slot();
    write(source.policy, core_.options.forwarded_inside, row);
    std::ranges::copy(source.mac, row.mac);
    copy_text(row.port_id, source.port_id);
    auto origin = origin_of(place, device.plan);
    origin->port_id = source.port_id;
    const auto keys = keys_of(row.device_slot, source);
    const auto left = leftovers_.take_port(*core_.slots, row, keys);
    auto made = left ? Binding<mt_source_key>::adopt(*place.source_site, *left, row, origin)
                     : Binding<mt_source_key>::make(*place.source_site, row, origin);
    if (!made) {
      return made;
    }
    for (const auto& key : keys) {
      if (auto led = made->lead(key); !led) {
        return tl::make_unexpected(std::move(led.error()));
      }
    }
    return made;
  }

  Status connect(Place& place, PlaceDevice& device) override {
    if (device.hooks) {
      return {};
    }
    const unsigned ifindex = device.plan.ifindex;
    // Its ports have their rows by now: programs of an earlier process may be attached, and must
    // not take a guest of ours for an unknown one.
    if (auto led = device.binding.lead({place.number, ifindex}); !led) {
      return led;
    }
    reconciler_.expect_grace_period();
    // The way back first: no packet must go in before its answer can come out.
    auto made = Hooks::attach(core_, device.plan.name, ifindex,
                              {{"mt_router_out", TcSide::egress, pin_of(place, ifindex, "out")},
                               {"mt_router", TcSide::ingress, pin_of(place, ifindex, "in")}});
    if (!made) {
      device.binding.hide();
      return tl::make_unexpected(std::move(made.error()));
    }
    device.hooks.emplace(*std::move(made));
    log::debug("{}: {} steered, slot {}", place.name, device.plan.name, device.binding.slot());
    return {};
  }

  void disconnect(Place&, PlaceDevice& device, bool inside) override {
    if (!device.hooks) {
      return;
    }
    if (!inside) {
      device.hooks->leave_filters();
    }
    reconciler_.expect_grace_period();
  }

  bool end_connections(Place& place) override {
    return place.retired.empty() ||
           rest_if_silent(*core_.slots, place.retired, destroy_tagged_sockets(place.retired),
                          place.name);
  }

  void turn_away(Place& place) override {
    for (auto& [ifindex, device] : place.devices) {
      device.binding.hide();
    }
  }

  void sweep(const std::map<std::string, Place>& places) override {
    forget_elsewhere(core_);
    rest(leftovers_.let_all_go(maps(), *core_.slots));  // of places that are no more
    std::set<std::string> live;
    for (const auto& [name, place] : places) {
      for (const auto& [ifindex, device] : place.devices) {
        live.insert(pin_of(place, ifindex, "in"));
        live.insert(pin_of(place, ifindex, "out"));
      }
    }
    sweep_pins(core_.programs->links_path(), {"qrouter_", "qdhcp_"}, live);
  }

  std::string_view attach_of(const PlaceDevice& device) const override {
    return device.hooks ? device.hooks->kind() : std::string_view();
  }

 protected:
  CallerRule::By callers_by() const override { return CallerRule::By::mark; }
  Status name_listener(const Place& place, int fd) override {
    return maps().listeners.put(fd, {place.number, 0});
  }
  void recognize_listener(Place& place, int fd) override {
    if (const auto known = maps().listeners.get(fd); known && *known) {
      place.former = (*known)->place;
    }
  }
  /// With the connections that are nobody's by now, also of owners that went while nobody looked.
  void forget_former(Place& place) override {
    place.retired.merge(leftovers_.let_go(maps(), *core_.slots, place.former));
    SlotNumbers live;
    for (const auto& [ifindex, device] : place.devices) {
      live.insert(device.binding.slot());
      for (const auto& [id, port] : device.ports) {
        live.insert(port.slot());
      }
    }
    const auto swept = destroy_other_tagged_sockets(live);
    if (!swept && swept.error().code != ErrorCode::unsupported) {
      log::warn("{}: {}", place.name, swept.error().message);
    }
  }

 private:
  [[nodiscard]] const Maps& maps() const { return core_.programs->maps(); }
  void rest(const SlotNumbers& numbers) {
    for (const auto slot : numbers) {
      core_.slots->rest(slot);
    }
  }

  /// What a place's listeners need.
  Status make_way(Place& place, const Inside& inside) {
    if (place.listeners.empty() && !core_.inherited->any_in(place.cookie)) {
      // What a process that died left would be the listener's again.
      if (auto clear = destroy_leftover_sockets();
          !clear && clear.error().code != ErrorCode::unsupported) {
        return clear;
      }
    }
    if (auto set = keep_setting(place, "net/ipv4/tcp_fwmark_accept", "1"); !set) {
      return set;
    }
    return make_own(place, inside, inner_v4());
  }

  std::shared_ptr<Core> shared_;
  Reconciler& reconciler_;
  RouterLeftovers leftovers_;
};

}  // namespace

void forget_elsewhere(const Core& core) {
  if (core.programs) {
    if (const auto cleared = core.programs->maps().elsewhere.clear(); !cleared) {
      log::warn("router data plane: {}", cleared.error().message);
    }
  }
}

std::unique_ptr<Steering> bpf_steering(std::shared_ptr<Core> core, Reconciler& reconciler,
                                       PlaceJournal& journal, GuestFrontend& frontend) {
  return std::make_unique<BpfSteering>(std::move(core), reconciler, journal, frontend);
}

}  // namespace metatap::dataplane
