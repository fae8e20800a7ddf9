// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>

#include "metatap/model.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// Whose devices are, by the MACs they were given: libvirt and Nova give a guest's device the
/// guest's MAC with fe in front. A name such as vnet7 goes from one guest to the next, this does
/// not. Other MACs, and those that the kernel made up, say nothing.
class GuestMacs {
 public:
  /// Each time a link is seen. True: it is another's than before, as far as this says.
  bool note(const sys::Link& link);
  void forget(unsigned ifindex) { given_.erase(ifindex); }
  /// nullopt: its MAC says nothing.
  [[nodiscard]] std::optional<MacAddress> given(unsigned ifindex) const;
  /// May a device that was given this MAC be that port's?
  [[nodiscard]] static bool fits(const MacAddress& given, const Port& port);

 private:
  std::map<unsigned, MacAddress> given_;  ///< by ifindex
};

}  // namespace metatap::dataplane
