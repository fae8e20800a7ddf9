// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string_view>

#include "dataplane/slot_table.hpp"
#include "metatap/result.hpp"
#include "sys/sock_diag.hpp"

namespace metatap::dataplane {

/// What connections leave in the kernel: a socket with unacknowledged bytes repeats them for
/// minutes after its process has closed it, or died. It must not do so under a number that has a
/// new owner. These run inside the namespace in question (NetNamespace::run) and walk over the
/// host's table of connections: once for many slots.
using SlotNumbers = std::set<std::uint32_t>;

/// In the metadata namespace: connections from an alias of `slots`, or tagged with one of them.
Result<sys::SockDiag::Swept> destroy_aliased_sockets(const SlotNumbers& slots);
/// There, before the numbers are used on: connections of all but these, which a process that died
/// may have had no time to end. `true` for the slots and generations that go on.
using GoesOn = std::function<bool(std::uint32_t slot, std::uint32_t generation)>;
Result<sys::SockDiag::Swept> destroy_other_aliased_sockets(const GoesOn& goes_on);
/// In a router's or DHCP namespace: connections to the inner addresses that are tagged with one of
/// `slots`.
Result<sys::SockDiag::Swept> destroy_tagged_sockets(const SlotNumbers& slots);
/// The same for connections that are tagged with none of `slots`.
Result<sys::SockDiag::Swept> destroy_other_tagged_sockets(const SlotNumbers& slots);
/// There, before anything listens: all that an earlier process left on the inner addresses.
/// ErrorCode::conflict: it still listens.
Status destroy_leftover_sockets();

/// Sends `retired` to rest and empties it if the sweep left nothing behind. On a kernel that cannot
/// destroy sockets the rest itself has to do. Otherwise they stay, and false says: try again.
bool rest_if_silent(SlotTable& slots, SlotNumbers& retired,
                    const Result<sys::SockDiag::Swept>& swept, std::string_view where);

}  // namespace metatap::dataplane
