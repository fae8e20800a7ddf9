// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metatap/result.hpp"
#include "sys/netlink.hpp"

namespace metatap::sys {

/// Where on a device a classifier sits.
enum class TcSide : bool { ingress, egress };

/// A filter of an ingress or clsact qdisc (`tc filter show`).
struct TcFilter {
  unsigned priority = 0;  ///< lower ones come first
  std::uint32_t handle = 0;
  std::string kind;              ///< "bpf", "u32", "basic", "matchall", "flower", …
  std::string name;              ///< of a bpf filter
  std::uint32_t program_id = 0;  ///< of a bpf filter
};

/// Classifier qdiscs and filters of the namespace the calling thread was in at open(). One thread
/// at a time; calls block for the kernel's answer.
class TrafficControl {
 public:
  static Result<TrafficControl> open();

  /// The one that holds `ffff:` on the device: "ingress", "clsact", or empty: there is none.
  /// ErrorCode::not_found: no such device.
  Result<std::string> ingress_qdisc(unsigned ifindex);
  /// ErrorCode::conflict: there is one already, of whatever kind.
  Status add_ingress_qdisc(unsigned ifindex, const std::string& kind);
  Status delete_ingress_qdisc(unsigned ifindex, const std::string& kind);

  /// In the order in which packets meet them; chain 0 alone. Empty: no filter, or no qdisc.
  Result<std::vector<TcFilter>> filters(unsigned ifindex, TcSide side);
  /// No filter on either side, in any chain.
  Result<bool> is_bare(unsigned ifindex, const std::string& kind);

 private:
  explicit TrafficControl(Netlink netlink) : netlink_(std::move(netlink)) {}
  Netlink netlink_;
};

}  // namespace metatap::sys
