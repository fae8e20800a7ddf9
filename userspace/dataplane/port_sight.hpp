// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/place.hpp"
#include "dataplane/slot_status.hpp"
#include "metatap/address.hpp"
#include "metatap/origin.hpp"

namespace metatap::dataplane {

/// An address that the programs take for a port's own.
struct KnownAddress {
  Address address;       ///< fe80:: stands for all link-local ones
  MacAddress mac{};      ///< where answers go; zero: not known
  bool fixed = false;    ///< one of the port's fixed_ips
  bool learned = false;  ///< the guest's own choice
};

/// One port as the data plane sees it, where the packets of its guest come in: at a tap, or at a
/// router's or DHCP server's device. Values.
struct PortSight {
  std::string port_id;
  Path via = Path::tap;
  std::string place;     ///< the namespace; empty: this host's own
  std::string place_id;  ///< of the router or network, as its name says
  std::string device;
  unsigned ifindex = 0;
  unsigned vlan = 0;
  MacAddress mac{};  ///< of the port; zero: not known
  bool v6 = true;    ///< the metadata service is there by IPv6, too
  DeviceState state = DeviceState::absent;
  std::string reason;               ///< a sentence, where the state alone does not say it
  std::string attach;               ///< "tcx", "clsact", "listen", or empty
  std::vector<std::string> before;  ///< programs of others that may take packets first
  std::uint32_t slot = 0;
  std::uint64_t owner = 0;  ///< Origin::owner
  std::size_t guests = 0;   ///< the port is a router's or DHCP server's own: ports behind it
  SlotStatus traffic;
  std::vector<KnownAddress> addresses;
};

}  // namespace metatap::dataplane
