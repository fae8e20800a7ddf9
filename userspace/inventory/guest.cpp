// SPDX-License-Identifier: Apache-2.0
#include "inventory/guest.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/named_id.hpp"
#include "inventory/metatap_key.hpp"
#include "inventory/read_objects.hpp"
#include "metatap/address.hpp"

namespace metatap {
namespace {

using namespace json;  // NOLINT: the words of the tables

template <class T>
const Field<T>& field_named(const Keys<T>& keys, std::string_view name) {
  return *std::ranges::find(keys.fields, name, [](const Field<T>& each) { return each.key.name; });
}

const Keys<GuestInterface>& interface_keys() {
  using G = GuestInterface;
  const auto& port = port_keys();
  // As of a port: the same words of the same kind of thing.
  const auto device = [&] {
    return special<G>("device", {Shape::Kind::text}, "The host's device that it is plugged into",
                      [&port](const Node& at, G& into) {
                        Port read;
                        field_named(port, "device").read(at, read);
                        into.device = read.device;
                      });
  };
  static const Keys<G> keys{
      {device(),
       mac<&G::mac>("mac",
                    "The guest's MAC; to be said where names of devices are used again, as libvirt "
                    "does with vnetN: then it is refused on another guest's device"),
       integer<&G::vlan>("vlan", 1, 4094, "Its tag on `device`"),
       text<&G::network>("network", "Name or id of its network; default: `default`"),
       list<&G::addresses>("addresses", {Shape::Kind::address_or_network},
                           "Its addresses, as `10.0.0.5/24`; the length may be left out where a "
                           "subnet of the network has the address. Default: learned",
                           address_or_network_of),
       address<&G::gateway>("gateway", "The router of its address' subnet"),
       list<&G::name_servers>("dns", {Shape::Kind::address}, "Name servers", address_of),
       boolean<&G::dhcp>("dhcp",
                         "false: network_data.json gives the guest its addresses; true (default): "
                         "it tells it to use DHCP"),
       metatap_key<G>()},
      {},
      nullptr};
  return keys;
}

std::vector<Field<Guest>> guest_fields() {
  std::vector<Field<Guest>> all{
      special<Guest>("name", {Shape::Kind::text}, "Default: `hostname`, or `device`",
                     [](const Node& at, Guest& into) { into.instance.name = at.text(); }),
      id<&Guest::id>("id", "Default: made of the name, the same at each start"),
      text<&Guest::host>("host",
                         "Where it runs, if hosts share the document: the device is that host's"),
      texts<&Guest::keys>("ssh_keys", "Public keys, as in authorized_keys"),
      objects<&Guest::more>("interfaces", interface_keys(),
                            "Where it has several; each with the keys of the one")};
  for (const auto* name : {"hostname", "user_data", "vendor_data", "metadata", "project_id",
                           "availability_zone", "flavor", "security_groups", "ec2_ids"}) {
    all.push_back(within<&Guest::instance>(field_named(instance_keys(), name)));
  }
  for (const auto& field : interface_keys().fields) {
    all.push_back(within<&Guest::first>(field));
  }
  return all;
}

/// The network that a name or an id means, made where there is none.
const Network& network_named(const std::string& name, Inventory& inventory) {
  if (const auto known = inventory.networks.find(name); known != inventory.networks.end()) {
    return *known->second;
  }
  for (const auto& [id, network] : inventory.networks) {
    if (network->name == name) {
      return *network;
    }
  }
  auto network = std::make_shared<Network>();
  network->id = uuid_of_name("network/" + name);
  network->name = name;
  const auto& made = *network;
  inventory.networks.insert_or_assign(made.id, std::move(network));
  return made;
}

/// nullptr: no subnet of that network has the address.
const Subnet* subnet_with(const Address& address, const std::string& network,
                          const Inventory& inventory) {
  const Subnet* best = nullptr;
  unsigned longest = 0;
  for (const auto& [id, subnet] : inventory.subnets) {
    const auto cidr = Prefix::parse(subnet->cidr);
    if (subnet->network_id == network && cidr && cidr->contains(address) &&
        (best == nullptr || cidr->length > longest)) {
      best = subnet.get();
      longest = cidr->length;
    }
  }
  return best;
}

class Maker {
 public:
  Maker(const Guest& guest, const Node& node, Inventory& inventory)
      : guest_(guest), node_(node), inventory_(inventory) {}

  GuestObjects make() {
    auto instance = std::make_shared<Instance>(guest_.instance);
    name(*instance);
    GuestObjects made{instance, {}};
    const GuestInterface none;
    if (guest_.more.empty() || guest_.first != none) {
      made.ports.push_back({port(guest_.first, *instance, ""), ""});
    }
    for (std::size_t index = 0; index < guest_.more.size(); ++index) {
      auto at = "/interfaces/" + std::to_string(index);
      made.ports.push_back({port(guest_.more[index], *instance, at), at});
    }
    return made;
  }

 private:
  void mistake(const std::string& at, std::string reason) {
    node_.reading().mistakes.add(node_.pointer() + at, std::move(reason));
  }

  void name(Instance& instance) {
    if (instance.name.empty()) {
      instance.name =
          !instance.hostname.empty() ? instance.hostname : guest_.first.device.value_or(guest_.id);
    }
    if (instance.name.empty()) {
      mistake("", "\"name\" or \"hostname\" is required where it has several interfaces");
    }
    instance.uuid = guest_.id.empty() ? uuid_of_name("guest/" + instance.name) : guest_.id;
    if (!instance.ec2_ids.instance_id) {
      constexpr unsigned kDigits = 17;  // as EC2 has them today
      instance.ec2_ids.instance_id = "i-" + digits_of_name("ec2/" + instance.uuid, kDigits);
    }
    constexpr unsigned kReservation = 8;
    instance.reservation_id = "r-" + digits_of_name("reservation/" + instance.uuid, kReservation);
    std::string lines;
    for (std::size_t index = 0; index < guest_.keys.size(); ++index) {
      const auto& key = guest_.keys[index];
      instance.keypairs.push_back({"key-" + std::to_string(index + 1), "ssh", key});
      lines += (lines.empty() ? "" : "\n") + key;
    }
    if (!lines.empty()) {  // EC2's tree has but one place
      instance.key_name = instance.keypairs.front().name;
      instance.key_data = std::move(lines);
    }
  }

  std::shared_ptr<Port> port(const GuestInterface& plug, const Instance& instance,
                             const std::string& at) {
    if (!plug.device) {
      mistake(at, "\"device\" is required");
    }
    auto port = std::make_shared<Port>();
    const auto& network = network_named(plug.network, inventory_);
    const auto where = plug.mac ? *plug.mac : plug.device.value_or(at);
    port->id = uuid_of_name("port/" + instance.uuid + "/" + where + "/" +
                            std::to_string(plug.vlan.value_or(0)));
    port->network_id = network.id;
    port->device_id = instance.uuid;
    port->device_owner = "compute:metatap";
    port->project_id = instance.project_id;
    port->device = plug.device;
    port->vlan = plug.vlan;
    port->host = guest_.host;
    port->mac_address = plug.mac.value_or("");
    port->mac_policy = plug.mac ? MacPolicy::own : MacPolicy::any;
    port->address_policy = plug.addresses.empty() ? AddressPolicy::learn : AddressPolicy::strict;
    port->access = plug.access;
    port->treatment = plug.treatment;
    for (std::size_t index = 0; index < plug.addresses.size(); ++index) {
      fixed_ip(plug, plug.addresses[index], at + "/addresses/" + std::to_string(index), *port);
    }
    return port;
  }

  void fixed_ip(const GuestInterface& plug, const std::string& text, const std::string& at,
                Port& port) {
    const auto prefix = Prefix::parse(text);
    const auto address = prefix ? prefix->address : *Address::parse(text);
    const auto* subnet = subnet_with(address, port.network_id, inventory_);
    if (subnet == nullptr && !prefix) {
      mistake(at, text + " needs the length of its network, as in " + text +
                      (address.v4() ? "/24" : "/64") + ", or a subnet of the document that has it");
      return;
    }
    if (subnet == nullptr) {
      auto made = std::make_shared<Subnet>();
      made->cidr = prefix->masked().text();
      made->id = uuid_of_name("subnet/" + port.network_id + "/" + made->cidr);
      made->network_id = port.network_id;
      made->ip_version = address.v4() ? 4 : 6;
      if (plug.gateway && family_of(*plug.gateway) == made->ip_version) {
        made->gateway_ip = plug.gateway;
      }
      made->enable_dhcp = plug.dhcp;
      made->dns_nameservers = plug.name_servers;
      subnet = made.get();
      inventory_.subnets.insert_or_assign(subnet->id, std::move(made));
    } else if (plug.gateway && family_of(*plug.gateway) == subnet->ip_version &&
               plug.gateway != subnet->gateway_ip) {
      mistake(at.substr(0, at.rfind("/addresses")) + "/gateway",
              "the gateway of " + subnet->cidr + " is " + subnet->gateway_ip.value_or("none") +
                  " already");
    }
    port.fixed_ips.push_back({subnet->id, address.text()});
  }

  const Guest& guest_;
  const Node& node_;
  Inventory& inventory_;
};

}  // namespace

const Keys<Guest>& guest_keys() {
  static const Keys<Guest> keys{guest_fields(), {}, nullptr};
  return keys;
}

GuestObjects objects_of(const Guest& guest, const Node& node, Inventory& inventory) {
  return Maker(guest, node, inventory).make();
}

}  // namespace metatap
