// SPDX-License-Identifier: Apache-2.0
#include "agent/ovn_port.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "metatap/address.hpp"

namespace metatap::agent {
namespace {

using Reason = OvnSkipped::Reason;

constexpr std::string_view kAnyMac = "unknown";
constexpr int kLastVlan = 4094;

tl::unexpected<OvnSkipped> skipped(Reason reason, std::string text) {
  return tl::make_unexpected(OvnSkipped{reason, std::move(text)});
}

/// One element of `mac` or `port_security`: a MAC and what may come from it.
struct AddressSet {
  MacAddress mac{};
  std::vector<std::string> addresses;  ///< addresses and, in port_security, prefixes
};

std::vector<AddressSet> address_sets(const OvsdbRow& row, std::string_view column) {
  std::vector<AddressSet> sets;
  for (const auto& text : ovsdb_texts(row, column)) {
    std::istringstream words(text);
    std::string word;
    if (!(words >> word)) {
      continue;
    }
    if (const auto mac = parse_mac(word)) {  // not "unknown", "dynamic" or "router"
      AddressSet set{*mac, {}};
      while (words >> word) {
        set.addresses.push_back(word);
      }
      sets.push_back(std::move(set));
    }
  }
  return sets;
}

std::string entry(const OvsdbRow& row, std::string_view key) {
  return ovsdb_entry(row, "external_ids", key).value_or("");
}

/// The network Neutron named the datapath after; empty if it named it not.
std::string network_of(const OvsdbRow& datapath) {
  constexpr std::string_view kPrefix = "neutron-";
  auto name = entry(datapath, "name");
  if (name.starts_with(kPrefix)) {
    name.erase(0, kPrefix.size());
  }
  return name;
}

/// `neutron:cidrs`, each without its length. nullopt: the row has no such entry.
std::optional<std::vector<Address>> declared_addresses(const OvsdbRow& row) {
  const auto text = ovsdb_entry(row, "external_ids", "neutron:cidrs");
  if (!text) {
    return std::nullopt;
  }
  std::vector<Address> addresses;
  std::istringstream words(*text);
  for (std::string word; words >> word;) {
    if (const auto address = Address::parse(std::string_view(word).substr(0, word.find('/')))) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

std::vector<Address> parsed(const std::vector<std::string>& texts) {
  std::vector<Address> addresses;
  for (const auto& text : texts) {
    if (const auto address = Address::parse(text)) {
      addresses.push_back(*address);
    }
  }
  return addresses;
}

bool holds_one_of(const AddressSet& set, const std::vector<Address>& wanted) {
  return std::ranges::any_of(parsed(set.addresses), [&](const Address& address) {
    return std::ranges::find(wanted, address) != wanted.end();
  });
}

struct Own {
  MacAddress mac{};
  std::vector<Address> addresses;
};

/// Which MAC is the port's own, and its addresses.
tl::expected<Own, OvnSkipped> own_addresses(const OvnSources& sources,
                                            const std::vector<AddressSet>& sets) {
  const auto declared = declared_addresses(sources.binding);
  const bool is_subport = sources.parent != nullptr;  // its device was plugged with another's MAC
  const auto plugged =
      sources.tap != nullptr && !is_subport ? parse_mac(sources.tap->guest_mac) : std::nullopt;
  const auto pick = [&](auto&& fits) {
    const auto found = std::ranges::find_if(sets, fits);
    return found == sets.end() ? nullptr : &*found;
  };
  if (declared) {
    if (const auto* set = pick([&](const auto& s) { return holds_one_of(s, *declared); })) {
      return Own{set->mac, *declared};
    }
  } else {
    const auto* set = pick([&](const auto& s) { return s.mac == plugged && !s.addresses.empty(); });
    if (set == nullptr) {
      set = pick([](const auto& s) { return !s.addresses.empty(); });
    }
    if (set != nullptr) {
      return Own{set->mac, parsed(set->addresses)};
    }
  }
  Own own{{}, declared.value_or(std::vector<Address>())};
  if (plugged) {
    own.mac = *plugged;
    return own;
  }
  if (sets.size() == 1) {
    own.mac = sets.front().mac;
    return own;
  }
  if (!sets.empty()) {
    return skipped(Reason::mac, "its mac column has " + std::to_string(sets.size()) +
                                    " MACs, none with an address of the port");
  }
  const auto texts = ovsdb_texts(sources.binding, "mac");
  return skipped(Reason::mac, (texts.empty() ? "its mac column is empty"
                                             : "its mac column says '" + texts.front() + "'") +
                                  ", and its Interface has no attached-mac");
}

/// What may ask beside the port's own addresses.
std::vector<AddressPair> pairs_of(const OvsdbRow& row, const std::vector<AddressSet>& macs,
                                  const Own& own) {
  const bool told = row.contains("port_security");
  std::vector<AddressPair> pairs;
  for (const auto& set : told ? address_sets(row, "port_security") : macs) {
    for (const auto& text : set.addresses) {
      const auto address = Address::parse(text);
      const bool own_address = set.mac == own.mac && address &&
                               std::ranges::find(own.addresses, *address) != own.addresses.end();
      if (!own_address && (address || Prefix::parse(text))) {
        pairs.push_back({text, to_string(set.mac)});
      }
    }
  }
  return pairs;
}

/// Whose it is: device and project. Of a subport that Neutron names no owner of, its parent's.
/// False: nobody's.
bool read_owner(const OvnSources& sources, Port& port) {
  for (const auto* row : {&sources.binding, sources.parent}) {
    if (row != nullptr && port.device_id.empty()) {
      port.device_id = entry(*row, "neutron:device_id");
      port.project_id = entry(*row, "neutron:project_id");
    }
  }
  port.device_owner = entry(sources.binding, "neutron:device_owner");
  return !port.device_id.empty();
}

}  // namespace

std::string_view name_of(Reason reason) {
  switch (reason) {
    case Reason::name:
      return "no_name";
    case Reason::network:
      return "no_network";
    case Reason::owner:
      return "no_owner";
    case Reason::mac:
      return "no_mac";
    case Reason::tag:
      return "no_tag";
    case Reason::parent:
      return "no_parent";
  }
  return "";
}

std::optional<OvnTap> ovn_tap(const OvsdbRow& interface) {
  OvnTap tap{.port = entry(interface, "iface-id"),
             .name = ovsdb_text(interface, "name").value_or(""),
             .guest_mac = entry(interface, "attached-mac"),
             .instance = entry(interface, "vm-uuid"),
             .present = ovsdb_integer(interface, "ifindex").value_or(0) > 0};
  if (tap.port.empty() || tap.name.empty()) {
    return std::nullopt;
  }
  if (const auto by_libvirt = entry(interface, "vm-id"); tap.instance.empty()) {
    tap.instance = by_libvirt;
  } else if (!by_libvirt.empty() && by_libvirt != tap.instance) {
    tap.instance.clear();
  }
  return tap;
}

tl::expected<Port, OvnSkipped> ovn_port(const OvnSources& sources) {
  const auto& row = sources.binding;
  Port port;
  port.id = ovsdb_text(row, "logical_port").value_or("");
  if (port.id.empty()) {
    return skipped(Reason::name, "it has no logical_port");
  }
  port.network_id = network_of(sources.datapath);
  if (port.network_id.empty()) {
    return skipped(Reason::network, "its Datapath_Binding has no external_ids:name");
  }
  const auto parent = ovsdb_text(row, "parent_port").value_or("");
  if (!parent.empty()) {
    const auto tag = ovsdb_integer(row, "tag");
    if (!tag || *tag < 1 || *tag > kLastVlan) {
      return skipped(Reason::tag, "it has a parent_port but no usable tag");
    }
    if (sources.parent == nullptr) {
      return skipped(Reason::parent, "its parent port " + parent + " is not known here");
    }
    port.vlan = static_cast<int>(*tag);
  }
  if (!read_owner(sources, port)) {
    return skipped(Reason::owner, "it has no external_ids:neutron:device_id");
  }
  const auto sets = address_sets(row, "mac");
  const auto own = own_addresses(sources, sets);
  if (!own) {
    return tl::make_unexpected(own.error());
  }
  port.mac_address = to_string(own->mac);
  for (const auto& address : own->addresses) {
    port.fixed_ips.push_back({.subnet_id = {}, .ip_address = address.text()});
  }
  port.allowed_address_pairs = pairs_of(row, sets, *own);
  const auto macs = ovsdb_texts(row, "mac");
  if (std::ranges::find(macs, kAnyMac) != macs.end()) {
    port.mac_policy = MacPolicy::any;
  }
  if (sources.tap != nullptr) {
    port.device = sources.tap->name;
  }
  return port;
}

}  // namespace metatap::agent
