// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"
#include "sys/netlink.hpp"

namespace metatap::dataplane {

/// The addresses to which mt_router turns the metadata addresses inside a namespace (abi.h).
[[nodiscard]] Address inner_v4();
[[nodiscard]] Address inner_v6();
[[nodiscard]] Address metadata_v4();
[[nodiscard]] Address metadata_v6();

struct GuestSocket {
  Address address;
  unsigned ifindex = 0;  ///< link-local v6: the device it is bound to
  /// A BPF program that sees each SYN before it is answered, or -1.
  int filter = -1;
};

/// A listening, non-blocking socket on port 80 in the calling thread's namespace.
[[nodiscard]] Result<UniqueFd> open_guest_socket(const GuestSocket& wanted);
/// Makes one that an earlier process opened what this one would have: with our program on it.
[[nodiscard]] Status take_over_guest_socket(int fd, const GuestSocket& wanted);

}  // namespace metatap::dataplane
