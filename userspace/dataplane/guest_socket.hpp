// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// The addresses to which mt_router turns the metadata addresses inside a namespace (abi.h).
[[nodiscard]] sys::IpAddress inner_v4();
[[nodiscard]] sys::IpAddress inner_v6();
[[nodiscard]] sys::IpAddress metadata_v4();
[[nodiscard]] sys::IpAddress metadata_v6();

struct GuestSocket {
  sys::IpAddress address;
  unsigned ifindex = 0;  ///< link-local v6: the device it is bound to
  /// Only connections that carry a tag are accepted: a SYN without one, from the router's external
  /// side for example, gets no answer at all.
  bool tagged = false;
};

/// A listening, non-blocking socket on port 80 in the calling thread's namespace.
[[nodiscard]] Result<UniqueFd> open_guest_socket(const GuestSocket& wanted);

}  // namespace metatap::dataplane
