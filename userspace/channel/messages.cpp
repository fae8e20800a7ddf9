// SPDX-License-Identifier: Apache-2.0
#include "channel/messages.hpp"

#include <algorithm>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

#include "channel/archive.hpp"

namespace metatap {

using channel::Is;

// What each value is made of, for both directions (archive.hpp). Enums: their last value. Not in an
// unnamed namespace: there the archive would not find them.

static constexpr Path last_of(Path) {
  return Path::dhcp;
}
static constexpr AddressPolicy last_of(AddressPolicy) {
  return AddressPolicy::learn;
}
static constexpr MacPolicy last_of(MacPolicy) {
  return MacPolicy::any;
}
static constexpr ForwardedInside last_of(ForwardedInside) {
  return ForwardedInside::allow;
}
static constexpr WhenDown last_of(WhenDown) {
  return WhenDown::refuse;
}
static constexpr View last_of(View) {
  return View::explain;
}
static constexpr CallerRule::By last_of(CallerRule::By) {
  return CallerRule::By::address;
}

/// What of it the data plane goes by.
static void fields(auto& archive, Is<AccessPolicy> auto& access) {
  archive(access.forwarded_inside, access.syn_rate);
}
static void fields(auto& archive, Is<Network> auto& network) {
  archive(network.id, network.admin_state_up, network.access);
}
static void fields(auto& archive, Is<Subnet> auto& subnet) {
  archive(subnet.id, subnet.network_id, subnet.cidr, subnet.ip_version);
}
static void fields(auto& archive, Is<Router> auto& router) {
  archive(router.id, router.admin_state_up);
}
static void fields(auto& archive, Is<FixedIp> auto& fixed) {
  archive(fixed.ip_address);
}
static void fields(auto& archive, Is<AddressPair> auto& pair) {
  archive(pair.ip_address, pair.mac_address);
}
static void fields(auto& archive, Is<PortTreatment> auto& treatment) {
  archive(treatment.when_down);
}
static void fields(auto& archive, Is<Port> auto& port) {
  archive(port.id, port.network_id, port.mac_address, port.device_id, port.device_owner,
          port.project_id, port.fixed_ips, port.allowed_address_pairs, port.admin_state_up,
          port.device, port.vlan, port.host, port.next_host, port.address_policy, port.mac_policy,
          port.access, port.treatment);
}
static void fields(auto& archive, Is<Address> auto& address) {
  archive(address.family, address.bytes);
}
static void fields(auto& archive, Is<Prefix> auto& prefix) {
  archive(prefix.address, prefix.length);
}
static void fields(auto& archive, Is<PlaceName> auto& place) {
  archive(place.path, place.id);
}
static void fields(auto& archive, Is<CallerRule> auto& rule) {
  archive(rule.by, rule.place);
}
static void fields(auto& archive, Is<AddressTable::Tenant> auto& tenant) {
  archive(tenant.slot, tenant.owner);
}
static void fields(auto& archive, Is<AddressTable::Known> auto& known) {
  archive(known.address, known.ifindex, known.tenant);
}
static void fields(auto& archive, Is<AddressTable::Device> auto& device) {
  archive(device.ifindex, device.subnets, device.tenant);
}
static void fields(auto& archive, Is<AddressTable> auto& table) {
  archive(table.known, table.devices);
}

namespace channel {

static void fields(auto& archive, Is<Hello> auto& hello) {
  archive(hello.program);
}
static void fields(auto& archive, Is<InventoryNews> auto& news) {
  archive(news.whole, news.revision, news.networks, news.subnets, news.routers, news.ports,
          news.gone_networks, news.gone_subnets, news.gone_routers, news.gone_ports);
}
static void fields(auto&, Is<Serving> auto&) {}
static void fields(auto& archive, Is<Settle> auto& settle) {
  archive(settle.question);
}
static void fields(auto& archive, Is<Look> auto& look) {
  archive(look.question, look.view, look.about);
}
static void fields(auto&, Is<Beat> auto&) {}
static void fields(auto& archive, Is<Connect> auto& connect) {
  archive(connect.question, connect.path);
}
static void fields(auto& archive, Is<Connected> auto& connected) {
  archive(connected.question);
}
static void fields(auto& archive, Is<NotConnected> auto& not_connected) {
  archive(not_connected.question, not_connected.why);
}
static void fields(auto&, Is<Kept> auto&) {}
static void fields(auto& archive, Is<Handed> auto& handed) {
  archive(handed.count, handed.refused);
}
static void fields(auto& archive, Is<Watch> auto& watch) {
  archive(watch.milliseconds);
}
static void fields(auto& archive, Is<Welcome> auto& welcome) {
  archive(welcome.slots, welcome.supervisor, welcome.restarts);
}
static void fields(auto& archive, Is<Listen> auto& listen) {
  archive(listen.name, listen.callers, listen.worker, listen.alone);
}
static void fields(auto& archive, Is<Close> auto& close) {
  archive(close.name);
}
static void fields(auto& archive, Is<Publish> auto& publish) {
  archive(publish.place, publish.table);
}
static void fields(auto& archive, Is<Settled> auto& settled) {
  archive(settled.question, settled.problems);
}
static void fields(auto& archive, Is<Seen> auto& seen) {
  archive(seen.question, seen.document);
}
static void fields(auto& archive, Is<Packets::One> auto& one) {
  archive(one.when, one.port_id, one.device, one.reason, one.length, one.source);
}
static void fields(auto& archive, Is<Packets> auto& packets) {
  archive(packets.all, packets.lost);
}
static void fields(auto& archive, Is<Drain> auto& drain) {
  archive(drain.arrival, drain.limit);
}
static void fields(auto& archive, Is<Succeed> auto& succeed) {
  archive(succeed.abi);
}
static void fields(auto& archive, Is<Expose> auto& expose) {
  archive(expose.name);
}

namespace {

tl::unexpected<Error> refuse(std::string_view what, const std::string& why) {
  return fail(ErrorCode::invalid, "inventory of the worker: " + std::string(what) + " " + why);
}

bool is_word(std::string_view text, std::size_t longest) {
  return !text.empty() && text.size() <= longest &&
         std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

Status check_id(std::string_view what, const std::string& id) {
  constexpr std::size_t kLongest = 36;
  return is_word(id, kLongest) ? Status() : refuse(what, "has an id that is none");
}

template <class T>
void put(Inventory::Table<T>& table, std::vector<std::string>& changed, std::vector<T>& objects) {
  for (auto& object : objects) {
    changed.push_back(object.id);
    table.insert_or_assign(changed.back(), std::make_shared<const T>(std::move(object)));
  }
}

template <class T>
void drop(Inventory::Table<T>& table, std::vector<std::string>& changed,
          const std::vector<std::string>& ids) {
  for (const auto& id : ids) {
    if (table.erase(id) != 0) {
      changed.push_back(id);
    }
  }
}

template <class T>
void add(std::vector<T>& objects, std::vector<std::string>& gone, const Inventory::Table<T>& after,
         const std::vector<std::string>& ids) {
  for (const auto& id : ids) {
    if (const auto found = after.find(id); found != after.end()) {
      objects.push_back(*found->second);
    } else {
      gone.push_back(id);
    }
  }
}

/// What an instance says of its ports to the data plane.
AccessPolicy said_by(const Inventory& inventory, const std::string& instance) {
  const auto found = inventory.instances.find(instance);
  AccessPolicy said;
  if (found != inventory.instances.end()) {
    said.forwarded_inside = found->second->access.forwarded_inside;
    said.syn_rate = found->second->access.syn_rate;
  }
  return said;
}

/// The data plane knows no instances: what one says of its port is the port's own here.
void say_for_instances(std::vector<Port>& ports, const Inventory& inventory) {
  for (auto& port : ports) {
    const auto said = said_by(inventory, port.device_id);
    if (!port.access.forwarded_inside) {
      port.access.forwarded_inside = said.forwarded_inside;
    }
    if (!port.access.syn_rate) {
      port.access.syn_rate = said.syn_rate;
    }
  }
}

/// Ports that are as they were, but of an instance that says something else of them now.
std::vector<std::string> ports_told_otherwise(const InventoryChange& change) {
  std::set<std::string_view> instances;
  for (const auto& id : change.instances) {
    if (said_by(*change.before, id) != said_by(*change.after, id)) {
      instances.insert(id);
    }
  }
  std::vector<std::string> ports;
  if (instances.empty()) {
    return ports;
  }
  const std::set<std::string_view> told(change.ports.begin(), change.ports.end());
  for (const auto& [id, port] : change.after->ports) {
    if (instances.contains(port->device_id) && !told.contains(id)) {
      ports.push_back(id);
    }
  }
  return ports;
}

template <class T>
void add_all(std::vector<T>& objects, const Inventory::Table<T>& table) {
  objects.reserve(table.size());
  for (const auto& [id, object] : table) {
    objects.push_back(*object);
  }
}

}  // namespace

template <class Message>
std::string encode(const Message& message) {
  return to_bytes(message);
}

template <class Message>
Result<Message> decode(const std::string& body) {
  auto message = from_bytes<Message>(body);
  if (!message) {
    return fail(ErrorCode::invalid, "a message of the other process (kind " +
                                        std::to_string(static_cast<unsigned>(Message::kType)) +
                                        ") is malformed");
  }
  return *std::move(message);
}

#define METATAP_MESSAGE(Message)               \
  template std::string encode(const Message&); \
  template Result<Message> decode(const std::string&)
METATAP_MESSAGE(Hello);
METATAP_MESSAGE(InventoryNews);
METATAP_MESSAGE(Serving);
METATAP_MESSAGE(Settle);
METATAP_MESSAGE(Look);
METATAP_MESSAGE(Beat);
METATAP_MESSAGE(Connect);
METATAP_MESSAGE(Connected);
METATAP_MESSAGE(NotConnected);
METATAP_MESSAGE(Kept);
METATAP_MESSAGE(Handed);
METATAP_MESSAGE(Watch);
METATAP_MESSAGE(Welcome);
METATAP_MESSAGE(Listen);
METATAP_MESSAGE(Close);
METATAP_MESSAGE(Publish);
METATAP_MESSAGE(Settled);
METATAP_MESSAGE(Seen);
METATAP_MESSAGE(Drain);
METATAP_MESSAGE(Succeed);
METATAP_MESSAGE(Expose);
METATAP_MESSAGE(Packets);
#undef METATAP_MESSAGE

Status check(const InventoryNews& news) {
  constexpr std::size_t kDeviceName = 15;  // IFNAMSIZ without its NUL
  constexpr std::size_t kText = 255;
  constexpr int kLastVlan = 4094;
  const auto every = [](const auto& objects, std::string_view what) -> Status {
    for (const auto& object : objects) {
      if (auto good = check_id(what, object.id); !good) {
        return good;
      }
    }
    return {};
  };
  for (auto& good : {every(news.networks, "a network"), every(news.subnets, "a subnet"),
                     every(news.routers, "a router"), every(news.ports, "a port")}) {
    if (!good) {
      return good;
    }
  }
  for (const auto& port : news.ports) {
    const std::string what = "port " + port.id;
    if (!is_word(port.network_id, 36)) {
      return refuse(what, "is of a network whose id is none");
    }
    if (port.device &&
        (!is_word(*port.device, kDeviceName) || *port.device == "." || *port.device == "..")) {
      return refuse(what, "has a device whose name is none");
    }
    if (port.vlan && (*port.vlan < 1 || *port.vlan > kLastVlan)) {
      return refuse(what, "has a VLAN tag that is none");
    }
    if (port.device_id.size() > kText || port.device_owner.size() > kText ||
        port.project_id.size() > kText || port.mac_address.size() > kText ||
        port.host.size() > kText || port.next_host.size() > kText) {
      return refuse(what, "has a text that is too long");
    }
  }
  return {};
}

InventoryNews news_of(const Inventory& whole) {
  InventoryNews news;
  news.whole = true;
  news.revision = whole.revision;
  add_all(news.networks, whole.networks);
  add_all(news.subnets, whole.subnets);
  add_all(news.routers, whole.routers);
  add_all(news.ports, whole.ports);
  say_for_instances(news.ports, whole);
  return news;
}

InventoryNews news_of(const InventoryChange& change) {
  InventoryNews news;
  news.revision = change.after->revision;
  add(news.networks, news.gone_networks, change.after->networks, change.networks);
  add(news.subnets, news.gone_subnets, change.after->subnets, change.subnets);
  add(news.routers, news.gone_routers, change.after->routers, change.routers);
  add(news.ports, news.gone_ports, change.after->ports, change.ports);
  add(news.ports, news.gone_ports, change.after->ports, ports_told_otherwise(change));
  say_for_instances(news.ports, *change.after);
  return news;
}

InventoryChange follow(std::shared_ptr<const Inventory> before, InventoryNews news) {
  auto after = std::make_shared<Inventory>(*before);
  after->revision = news.revision;
  InventoryChange change;
  put(after->networks, change.networks, news.networks);
  put(after->subnets, change.subnets, news.subnets);
  put(after->routers, change.routers, news.routers);
  put(after->ports, change.ports, news.ports);
  drop(after->networks, change.networks, news.gone_networks);
  drop(after->subnets, change.subnets, news.gone_subnets);
  drop(after->routers, change.routers, news.gone_routers);
  drop(after->ports, change.ports, news.gone_ports);
  change.before = std::move(before);
  change.after = std::move(after);
  return change;
}

}  // namespace channel
}  // namespace metatap
