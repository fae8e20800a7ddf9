// SPDX-License-Identifier: Apache-2.0
#include "inventory/network_info.hpp"

#include <functional>
#include <string>
#include <string_view>

#include "inventory/fields.hpp"

namespace metatap::json {
namespace {

/// Looks one up; what is absent or null is nobody's trouble.
void member(const Node& node, const char* key, const std::function<void(const Node&)>& check) {
  node.expect(node.json().is_object(), "an object");
  const auto found = node.json().find(key);
  if (found != node.json().end() && !found->is_null()) {
    check(Node(*found, node, std::string_view(key)));
  }
}

/// As member(), of what Nova always has there.
void needed(const Node& node, const char* key, const std::function<void(const Node&)>& check) {
  bool there = false;
  member(node, key, [&](const Node& at) {
    there = true;
    check(at);
  });
  if (!there) {
    node.refuse("\"" + std::string(key) + "\" is required");
  }
}

void check_text(const Node& node) {
  static_cast<void>(node.text());
}
void check_object(const Node& node) {
  node.expect(node.json().is_object(), "an object");
}

void check_address(const Node& node) {
  address_of(node);
}
void check_addressed(const Node& node) {
  needed(node, "address", check_address);
}

void check_cached_subnet(const Node& subnet) {
  needed(subnet, "cidr", [&](const Node& cidr) {
    const int family = family_of(network_of(cidr));
    member(subnet, "version", [&](const Node& version) {
      if (version.integer(4, 6) != family) {
        version.refuse("the cidr is of IPv" + std::to_string(family));
      }
    });
  });
  member(subnet, "meta", [](const Node& meta) {
    member(meta, "dhcp_server", check_text);
    member(meta, "ipv6_address_mode",
           [](const Node& at) { choice_of(at, {"slaac", "dhcpv6-stateful", "dhcpv6-stateless"}); });
  });
  // A subnet without a gateway has one without an address.
  member(subnet, "gateway", [](const Node& gateway) { member(gateway, "address", check_address); });
  member(subnet, "dns", [](const Node& list) { list.each(check_addressed); });
  member(subnet, "ips", [](const Node& list) {
    list.each([](const Node& ip) {
      check_addressed(ip);
      member(ip, "floating_ips", [](const Node& floating) { floating.each(check_addressed); });
    });
  });
  member(subnet, "routes", [](const Node& list) {
    list.each([](const Node& route) {
      needed(route, "cidr", [](const Node& at) { network_of(at); });
      needed(route, "gateway", check_addressed);
    });
  });
}

}  // namespace

void check_vif(const Node& vif) {
  needed(vif, "id", [](const Node& id) {
    if (id.text().empty()) {
      id.refuse("an empty id");
    }
  });
  for (const auto* key : {"type", "devname", "vnic_type"}) {
    member(vif, key, check_text);
  }
  member(vif, "address", [](const Node& at) { mac_of(at); });
  for (const auto* key : {"details", "profile", "meta"}) {
    member(vif, key, check_object);
  }
  member(vif, "network", [](const Node& network) {
    for (const auto* key : {"id", "label", "bridge"}) {
      member(network, key, check_text);
    }
    member(network, "meta", [](const Node& meta) {
      member(meta, "mtu", [](const Node& at) { static_cast<void>(at.integer(0, INT32_MAX)); });
    });
    member(network, "subnets", [](const Node& subnets) { subnets.each(check_cached_subnet); });
  });
}

}  // namespace metatap::json
