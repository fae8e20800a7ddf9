// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/published.hpp"
#include "dataplane/caller_table.hpp"
#include "dataplane/router_plan.hpp"
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
  MarkResolver(std::shared_ptr<const CallerView> slots, PlaceName place)
      : slots_(std::move(slots)), place_(std::move(place)) {}
  [[nodiscard]] Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const override;
  /// Of a connection with that peer and mark.
  [[nodiscard]] Caller caller_of(Address address, std::uint32_t mark) const;

 private:
  std::shared_ptr<const CallerView> slots_;
  PlaceName place_;
};

/// `--steering=listen`: names the callers of one namespace's listeners by their addresses.
/// Thread-safe.
class AddressResolver : public CallerResolver {
 public:
  explicit AddressResolver(std::shared_ptr<const CallerView> slots)
      : slots_(std::move(slots)), table_(std::make_shared<const AddressTable>()) {}
  void publish(std::shared_ptr<const AddressTable> table) { table_.set(std::move(table)); }
  [[nodiscard]] Caller caller_of(int accepted_fd, const sockaddr_storage& peer) const override;
  /// Of a connection with that peer, by that device.
  [[nodiscard]] Caller caller_at(const Address& peer, unsigned ifindex) const;

 private:
  std::shared_ptr<const CallerView> slots_;
  Published<AddressTable> table_;
};

/// An IPv4-mapped peer as the IPv4 address it is.
[[nodiscard]] Address address_of(const sockaddr_storage& peer);

}  // namespace metatap::dataplane
