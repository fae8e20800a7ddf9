// SPDX-License-Identifier: Apache-2.0
#include "api/network_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "api/json.hpp"
#include "metatap/address.hpp"

namespace metatap::api {
namespace {

std::string text_of(const Json* json) {
  return json != nullptr ? json->text() : std::string();
}

std::optional<std::string> text_or_null(const Json* json) {
  return json == nullptr || json->is_null() ? std::nullopt : std::optional(json->text());
}

const Json& member(const Json& json, std::string_view key) {
  static const Json kNull;
  const Json* found = json.find(key);
  return found != nullptr ? *found : kNull;
}

/// The address of a {address, type, version, meta}, or nullopt.
std::optional<std::string> address_of(const Json& json) {
  return text_or_null(json.find("address"));
}

VifSubnet subnet_from_json(const Json& json) {
  VifSubnet subnet;
  subnet.cidr = text_of(json.find("cidr"));
  const std::string& version = member(json, "version").text();
  // Where it is not said, the network itself says it.
  subnet.version =
      version == "6" || (version.empty() && subnet.cidr.find(':') != std::string::npos) ? 6 : 4;
  subnet.gateway = address_of(member(json, "gateway"));
  if (subnet.gateway && subnet.gateway->empty()) {
    subnet.gateway.reset();
  }
  const Json& meta = member(json, "meta");
  subnet.dhcp_server = text_or_null(meta.find("dhcp_server"));
  subnet.ipv6_address_mode = text_or_null(meta.find("ipv6_address_mode"));
  subnet.enable_dhcp = member(meta, "enable_dhcp").truthy();
  for (const Json& dns : member(json, "dns").items()) {
    subnet.dns.push_back(address_of(dns).value_or(""));
  }
  for (const Json& fixed : member(json, "ips").items()) {
    VifIp address{address_of(fixed).value_or(""), {}};
    for (const Json& floating : member(fixed, "floating_ips").items()) {
      address.floating_ips.push_back(address_of(floating).value_or(""));
    }
    subnet.ips.push_back(std::move(address));
  }
  for (const Json& route : member(json, "routes").items()) {
    subnet.routes.push_back(
        {text_of(route.find("cidr")), address_of(member(route, "gateway")).value_or("")});
  }
  return subnet;
}

/// Host bits cleared, an address alone as itself; nullopt for what is no network.
std::optional<Prefix> network_of(std::string_view text) {
  if (const auto alone = Address::parse(text)) {
    return Prefix{*alone, alone->bits()};
  }
  const auto prefix = Prefix::parse(text);
  return prefix ? std::optional(prefix->masked()) : std::nullopt;
}

std::string netmask(const Prefix& prefix) {
  Address ones{prefix.address.family, {}};
  ones.bytes.fill(0xff);
  return Prefix{ones, prefix.length}.network().text();
}

/// As netaddr has it, and so Nova prints it: two addresses or one have none to spare.
std::string broadcast(const Prefix& prefix) {
  if (prefix.length + 1 >= prefix.address.bits()) {
    return "None";
  }
  Address last = prefix.address;
  for (unsigned bit = prefix.length; bit < last.bits(); ++bit) {
    last.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80U >> bit % 8);
  }
  return last.text();
}

const VifSubnet* first_of_family(const Vif& vif, int version) {
  const auto found = std::ranges::find(vif.subnets, version, &VifSubnet::version);
  return found == vif.subnets.end() ? nullptr : &*found;
}

void append_member(std::string& out, std::string_view key, std::string_view value) {
  if (out.back() != '{') {
    out += ", ";
  }
  append_quoted(out, key);
  out += ": ";
  append_quoted(out, value);
}

void append_route(std::string& out, std::string_view network, std::string_view mask,
                  std::string_view gateway) {
  out += out.back() == '[' ? "{" : ", {";
  append_member(out, "network", network);
  append_member(out, "netmask", mask);
  append_member(out, "gateway", gateway);
  out += '}';
}

void append_dns(std::string& out, std::string_view address) {
  out += out.back() == '[' ? "{" : ", {";
  append_member(out, "type", "dns");
  append_member(out, "address", address);
  out += '}';
}

void append_link(std::string& out, const Vif& vif, std::string_view id) {
  static constexpr std::array<std::string_view, 8> kShownTypes{
      "bridge", "dvs", "hw_veb", "hyperv", "ovs", "tap", "vhostuser", "vif"};
  out += out.back() == '[' ? "{" : ", {";
  append_member(out, "id", id);
  append_member(out, "vif_id", vif.id);
  append_member(out, "type",
                std::ranges::find(kShownTypes, vif.type) != kShownTypes.end()
                    ? std::string_view(vif.type)
                    : "phy");
  // A DHCP agent announces the MTU by itself.
  const bool dhcp = std::ranges::any_of(
      vif.subnets, [](const VifSubnet& s) { return s.dhcp_server && !s.dhcp_server->empty(); });
  out += ", \"mtu\": ";
  out += dhcp ? "null" : vif.mtu.value_or("null");
  if (vif.address) {
    append_member(out, "ethernet_mac_address", *vif.address);
  } else {
    out += ", \"ethernet_mac_address\": null";
  }
  out += '}';
}

void append_network(std::string& out, const Vif& vif, const VifSubnet& subnet, std::size_t number,
                    std::string_view link) {
  out += out.back() == '[' ? "{" : ", {";
  append_member(out, "id", fmt::format("network{}", number));
  std::string type = fmt::format("ipv{}", subnet.version);
  const bool by_dhcp = !subnet.ipv6_address_mode && (subnet.dhcp_server || subnet.enable_dhcp);
  if (subnet.ipv6_address_mode) {
    type += "_" + *subnet.ipv6_address_mode;
  } else if (by_dhcp) {
    type += "_dhcp";
  }
  append_member(out, "type", type);
  append_member(out, "link", link);
  if (by_dhcp) {
    append_member(out, "network_id", vif.network_id);
    out += '}';
    return;
  }
  const auto cidr = network_of(subnet.cidr);
  append_member(out, "ip_address", subnet.ips.front().address);
  append_member(out, "netmask", cidr ? netmask(*cidr) : "");
  out += ", \"routes\": [";
  if (subnet.gateway) {
    const std::string_view any = subnet.version == 4 ? "0.0.0.0" : "::";
    append_route(out, any, any, *subnet.gateway);
  }
  for (const VifRoute& route : subnet.routes) {
    if (const auto to = network_of(route.cidr)) {
      append_route(out, to->address.text(), netmask(*to), route.gateway);
    }
  }
  out += ']';
  append_member(out, "network_id", vif.network_id);
  out += ", \"services\": [";
  for (const std::string& dns : subnet.dns) {
    append_dns(out, dns);
  }
  out += "]}";
}

std::string join(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace

Result<NetworkModel> network_model_from_json(std::string_view network_info) {
  const auto json = Json::parse(network_info);
  if (!json) {
    return fail(ErrorCode::invalid, "network_info: " + json.error().message);
  }
  if (json->kind() != Json::Kind::array) {
    return fail(ErrorCode::invalid, "network_info: not a list of VIFs");
  }
  NetworkModel model;
  for (const Json& item : json->items()) {
    Vif vif;
    vif.id = text_of(item.find("id"));
    vif.type = text_of(item.find("type"));
    vif.devname = text_of(item.find("devname"));
    vif.address = text_or_null(item.find("address"));
    const Json& network = member(item, "network");
    vif.has_network = network.truthy();
    vif.network_id = text_of(network.find("id"));
    const Json& meta = member(network, "meta");
    vif.mtu = text_or_null(meta.find("mtu"));
    vif.injected = member(meta, "injected").truthy();
    for (const Json& subnet : member(network, "subnets").items()) {
      vif.subnets.push_back(subnet_from_json(subnet));
    }
    model.push_back(std::move(vif));
  }
  return model;
}

void complete_from_ports(NetworkModel& model, const InventoryIndex& index,
                         std::string_view instance_id) {
  for (const Port* port : index.ports_of_instance(instance_id)) {
    const auto vif = std::ranges::find(model, port->id, &Vif::id);
    if (vif == model.end()) {
      continue;
    }
    if (!vif->address) {
      vif->address = port->mac_address;
    }
    if (vif->network_id.empty()) {
      vif->network_id = port->network_id;
    }
  }
}

NetworkModel network_model_from_ports(const InventoryIndex& index, std::string_view instance_id) {
  NetworkModel model;
  const auto ports = index.ports_of_instance(instance_id);
  const bool on_untagged = std::ranges::any_of(ports, [](const Port* port) { return !port->vlan; });
  for (const Port* port : ports) {
    if (port->mac_address.empty()) {
      continue;  // a guest finds an interface by its MAC
    }
    if (port->vlan && on_untagged) {
      continue;  // a subport of its trunk is a tag on an interface, and Nova tells of none
    }
    Vif vif;
    vif.id = port->id;
    // A port does not say how it is plugged; what we steer are taps.
    vif.type = "tap";
    vif.devname = "tap" + port->id.substr(0, 11);
    vif.address = port->mac_address;
    vif.network_id = port->network_id;
    vif.has_network = true;
    if (const Network* network = index.network(port->network_id); network && network->mtu) {
      vif.mtu = std::to_string(*network->mtu);
    }
    std::vector<std::string_view> seen;
    for (const FixedIp& fixed : port->fixed_ips) {
      const Subnet* row = index.subnet(fixed.subnet_id);
      if (row == nullptr) {
        continue;
      }
      const auto place = std::ranges::find(seen, std::string_view(row->id));
      if (place != seen.end()) {
        vif.subnets[static_cast<std::size_t>(place - seen.begin())].ips.push_back(
            {fixed.ip_address, {}});
        continue;
      }
      seen.emplace_back(row->id);
      VifSubnet subnet;
      subnet.cidr = row->cidr;
      subnet.version = row->ip_version;
      subnet.gateway = row->gateway_ip;
      subnet.ipv6_address_mode = row->ipv6_address_mode;
      subnet.enable_dhcp = row->enable_dhcp;
      if (const std::string* server = index.dhcp_server(port->network_id, row->id)) {
        subnet.dhcp_server = *server;
      }
      subnet.dns = row->dns_nameservers;
      subnet.ips.push_back({fixed.ip_address, {}});
      for (const HostRoute& route : row->host_routes) {
        subnet.routes.push_back({route.destination, route.nexthop});
      }
      vif.subnets.push_back(std::move(subnet));
    }
    if (port->fixed_ips.empty() && port->address_policy == AddressPolicy::learn) {
      // Nobody here knows its address; whoever gives it one does so by DHCP.
      VifSubnet subnet;
      subnet.enable_dhcp = true;
      subnet.ips.emplace_back();
      vif.subnets.push_back(std::move(subnet));
    }
    model.push_back(std::move(vif));
  }
  return model;
}

std::string network_data_json(const NetworkModel& model) {
  if (model.empty()) {
    return "{}";
  }
  std::string links = "[", networks = "[";
  std::vector<std::string> dns;
  std::size_t interfaces = 0, numbered = 0;
  for (const Vif& vif : model) {
    if (!vif.has_network || vif.subnets.empty()) {
      continue;
    }
    const std::string link =
        vif.devname.empty() ? fmt::format("interface{}", interfaces) : vif.devname;
    ++interfaces;
    append_link(links, vif, link);
    for (const int version : {4, 6}) {
      const VifSubnet* subnet = first_of_family(vif, version);
      if (subnet == nullptr || subnet->ips.empty()) {
        continue;
      }
      append_network(networks, vif, *subnet, numbered++, link);
      // Not twice across subnets, but twice within one if it says so: Nova's way.
      const auto known = dns.size();
      for (const std::string& address : subnet->dns) {
        const auto end = dns.begin() + static_cast<std::ptrdiff_t>(known);
        if (std::find(dns.begin(), end, address) == end) {
          dns.push_back(address);
        }
      }
    }
  }
  std::string services = "[";
  for (const std::string& address : dns) {
    append_dns(services, address);
  }
  return fmt::format(R"({{"links": {}], "networks": {}], "services": {}]}})", links, networks,
                     services);
}

std::optional<std::string> injected_interfaces(const NetworkModel& model) {
  std::string body;
  std::size_t number = 0;
  for (const Vif& vif : model) {
    if (!vif.has_network || vif.subnets.empty()) {
      continue;
    }
    const std::string name = fmt::format("eth{}", number++);
    const VifSubnet* v4 = first_of_family(vif, 4);
    const VifSubnet* v6 = first_of_family(vif, 6);
    if (!vif.injected || (v4 != nullptr && v4->dhcp_server) || (v6 != nullptr && v6->dhcp_server)) {
      continue;
    }
    body += fmt::format("\nauto {}\n", name);
    const std::string hardware =
        vif.address ? fmt::format("    hwaddress ether {}\n", *vif.address) : "";
    if (v4 != nullptr && !v4->ips.empty()) {
      const auto cidr = network_of(v4->cidr);
      const bool valid = cidr && cidr->address.v4();
      body +=
          fmt::format("iface {} inet static\n{}    address {}\n    netmask {}\n    broadcast {}\n",
                      name, hardware, v4->ips.front().address, valid ? netmask(*cidr) : "",
                      valid ? broadcast(*cidr) : "");
      if (v4->gateway) {
        body += fmt::format("    gateway {}\n", *v4->gateway);
      }
      if (!v4->dns.empty()) {
        body += fmt::format("    dns-nameservers {}\n", join(v4->dns));
      }
    }
    if (v6 != nullptr && !v6->ips.empty()) {
      const auto cidr = network_of(v6->cidr);
      body += fmt::format("iface {} inet6 static\n{}    address {}\n    netmask {}\n", name,
                          hardware, v6->ips.front().address, cidr ? cidr->length : 128);
      if (v6->gateway) {
        body += fmt::format("    gateway {}\n", *v6->gateway);
      }
      if (!v6->dns.empty()) {
        body += fmt::format("    dns-nameservers {}\n", join(v6->dns));
      }
    }
  }
  if (body.empty()) {
    return std::nullopt;
  }
  return "# Injected by Nova on instance boot\n"
         "#\n"
         "# This file describes the network interfaces available on your system\n"
         "# and how to activate them. For more information, see interfaces(5).\n"
         "\n"
         "# The loopback network interface\n"
         "auto lo\n"
         "iface lo inet loopback\n" +
         body;
}

std::optional<std::string> first_ipv4(const NetworkModel& model) {
  for (const Vif& vif : model) {
    for (const VifSubnet& subnet : vif.subnets) {
      for (const VifIp& fixed : subnet.ips) {
        if (fixed.address.find('.') != std::string::npos &&
            fixed.address.find(':') == std::string::npos) {
          return fixed.address;
        }
      }
    }
  }
  return std::nullopt;
}

std::string first_floating_ip(const NetworkModel& model) {
  for (const Vif& vif : model) {
    for (const VifSubnet& subnet : vif.subnets) {
      for (const VifIp& fixed : subnet.ips) {
        if (!fixed.floating_ips.empty()) {
          return fixed.floating_ips.front();
        }
      }
    }
  }
  return {};
}

}  // namespace metatap::api
