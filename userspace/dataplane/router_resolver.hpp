// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/published.hpp"
#include "dataplane/router_plan.hpp"
#include "dataplane/slot_table.hpp"
#include "metatap/origin.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// Names the callers of one namespace's listeners by the tag that mt_router gave the connection:
/// SO_MARK → slot → origin. A tag of another namespace, or none, is nobody. Thread-safe.
///
/// The address is the guest's own. A link-local one is written as the port's MAC makes it, because
/// that is the only form Neutron's agent can look up: a guest with a privacy or manual link-local
/// address gets its metadata all the same.
class MarkResolver : public CallerResolver {
 public:
  MarkResolver(std::shared_ptr<const SlotTable> slots, PlaceName place)
      : slots_(std::move(slots)), place_(std::move(place)) {}
  [[nodiscard]] Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const override;

 private:
  std::shared_ptr<const SlotTable> slots_;
  PlaceName place_;
};

/// Who is who in one namespace without BPF: by the peer's address, and for link-local v6 by the
/// device it came from. Immutable once published.
struct AddressTable {
  struct Known {
    Address address;
    unsigned ifindex = 0;  ///< of the device, for link-local addresses
    std::shared_ptr<const Origin> origin;
  };
  struct Device {
    unsigned ifindex = 0;
    std::vector<Prefix> subnets;           ///< address and prefix length
    std::shared_ptr<const Origin> origin;  ///< without a port
  };
  std::vector<Known> known;  ///< sorted by address and ifindex
  std::vector<Device> devices;

  void sort();
  /// The origin of that peer; without a port for an address of ours that no port has; null for one
  /// that is in none of our subnets.
  [[nodiscard]] std::shared_ptr<const Origin> find(const Address& address, unsigned ifindex) const;
};

/// `--steering=listen`. Thread-safe.
class AddressResolver : public CallerResolver {
 public:
  AddressResolver() : table_(std::make_shared<const AddressTable>()) {}
  void publish(std::shared_ptr<const AddressTable> table) { table_.set(std::move(table)); }
  [[nodiscard]] Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const override;

 private:
  Published<AddressTable> table_;
};

/// An IPv4-mapped peer as the IPv4 address it is.
[[nodiscard]] Address address_of(const sockaddr_storage& peer);

}  // namespace metatap::dataplane
