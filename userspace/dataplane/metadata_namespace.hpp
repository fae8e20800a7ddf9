// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/slot_sockets.hpp"
#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"
#include "sys/change_monitor.hpp"
#include "sys/netlink.hpp"
#include "sys/netns.hpp"
#include "sys/sock_diag.hpp"

namespace metatap::dataplane {

/// The namespace in which all guests of the host have addresses of their own (aliases) and the
/// metadata service has 169.254.169.254 and fe80::a9fe:a9fe. It has one device, the inner end of a
/// veth pair; nothing is forwarded, and aliases never leave it. Control thread.
class MetadataNamespace {
 public:
  /// Makes the namespace and what is in it. One that an earlier process left is not used again but
  /// cut off and discarded: its sockets repeat their unacknowledged bytes for minutes, and the slot
  /// that those were for may have another owner now. ErrorCode::conflict: somebody listens in it.
  static Result<MetadataNamespace> create(std::string_view name);
  /// Goes on with the one that an earlier process left, and with the connections in it. For who
  /// knows that numbers have kept their owners, but for those of `goes_on`'s refusal, whose sockets
  /// are destroyed. ErrorCode::unsupported: this kernel cannot, or not all of them went.
  static Result<MetadataNamespace> take_over(std::string_view name, const GoesOn& goes_on);
  /// The kernel's number of the namespace of that name; 0: there is none.
  static std::uint64_t cookie_of(std::string_view name);

  /// Cuts off and takes away what an earlier process left. ErrorCode::conflict: somebody listens.
  static Status discard(std::string_view name);

  struct Upkeep {
    std::vector<std::string> found;  ///< what was not as create() had made it
    std::vector<std::string> left;   ///< what could not be put right, and why
  };
  /// Looks at all that create() made and makes it so again, whatever somebody did to it. The pair
  /// may be another one then: other ifindexes. Some hundred microseconds.
  [[nodiscard]] Upkeep keep();
  /// Tells when something inside may have changed.
  [[nodiscard]] Result<sys::ChangeMonitor> watch() const;

  /// Host end of the pair, and the namespace's number as the taps' namespace knows it.
  [[nodiscard]] unsigned host_ifindex() const { return host_ifindex_; }
  [[nodiscard]] std::int32_t nsid() const { return nsid_; }
  [[nodiscard]] const std::string& host_device() const { return host_device_; }
  [[nodiscard]] const std::string& name() const { return namespace_.name(); }
  [[nodiscard]] bool has_v6() const { return has_v6_; }

  /// A listening, non-blocking socket with SO_REUSEPORT on port 80 of the metadata address.
  /// @see address_of. The v6 one is bound to any address: a socket bound to a link-local one is
  /// bound to its device too, and the liveness gate, asking from another device, would not find it.
  [[nodiscard]] Result<UniqueFd> listen(int family) const;
  /// The address that such a socket is bound to.
  [[nodiscard]] static Address address_of(int family);

  /// How many sockets listen there.
  [[nodiscard]] Result<std::size_t> listeners(int family) const;

  /// Ends the connections of slots that are nobody's any more.
  [[nodiscard]] Result<sys::SockDiag::Swept> destroy_sockets_of(const SlotNumbers& slots) const;

  /// Takes the veth pair and the namespace's name away.
  Status remove();

  /// The MAC in answers to the guests, and as which the namespace's only neighbour is known.
  static constexpr MacAddress kMetadataMac = {0xfe, 0x16, 0x3e, 0xa9, 0xfe, 0xa9};
  /// Of the inner end of the pair.
  static constexpr MacAddress kInnerMac = {0xfe, 0x16, 0x3e, 0xa9, 0xfe, 0xaa};
  /// Name of the host end for a namespace's name: at most 15 characters, no two names alike.
  static std::string host_device_of(std::string_view name);

 private:
  explicit MetadataNamespace(sys::NetNamespace ns) : namespace_(std::move(ns)) {}
  static Status remove_named(std::string_view name);
  Status make_veth();
  Status configure();
  [[nodiscard]] Result<sys::Link> inner_device() const;
  [[nodiscard]] Result<bool> pair_is_whole(sys::Netlink& outside) const;
  Status make_pair_anew();

  sys::NetNamespace namespace_;
  std::string host_device_;
  unsigned host_ifindex_ = 0, inner_ifindex_ = 0;
  std::int32_t nsid_ = -1;
  bool has_v6_ = true;
};

}  // namespace metatap::dataplane
