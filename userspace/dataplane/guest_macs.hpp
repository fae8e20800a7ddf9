// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "metatap/model.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// Whose devices are, by the MACs they were given: libvirt and Nova give a guest's device the
/// guest's MAC with fe in front. A name such as vnet7 goes from one guest to the next, this does
/// not. Other MACs, and those that the kernel made up, say nothing.
class GuestMacs {
 public:
  /// Each time a link is seen.
  void note(const sys::Link& link);
  void forget(unsigned ifindex) { given_.erase(ifindex); }
  /// Why that device is not `port`'s, as a sentence; empty: it may be.
  [[nodiscard]] std::string why_foreign(unsigned ifindex, const Port& port) const;

 private:
  std::map<unsigned, sys::MacAddress> given_;  ///< by ifindex
};

}  // namespace metatap::dataplane
