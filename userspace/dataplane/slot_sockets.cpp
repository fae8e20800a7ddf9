// SPDX-License-Identifier: Apache-2.0
#include "dataplane/slot_sockets.hpp"

#include <algorithm>
#include <vector>

#include "base/log.hpp"
#include "dataplane/alias.hpp"
#include "dataplane/guest_socket.hpp"

namespace metatap::dataplane {
namespace {

using sys::SockDiag;
using sys::TcpSocket;

std::vector<Address> inner_addresses() {
  return {inner_v4(), inner_v6()};
}

}  // namespace

Result<SockDiag::Swept> destroy_aliased_sockets(const SlotNumbers& slots) {
  auto diag = SockDiag::open();
  if (!diag) {
    return tl::make_unexpected(std::move(diag.error()));
  }
  return diag->sweep([&](const TcpSocket& socket) {
    const auto alias = Alias::of(socket.peer);
    return (alias && slots.contains(alias->slot)) || (socket.mark && slots.contains(*socket.mark));
  });
}

Result<SockDiag::Swept> destroy_other_aliased_sockets(const GoesOn& goes_on) {
  auto diag = SockDiag::open();
  if (!diag) {
    return tl::make_unexpected(std::move(diag.error()));
  }
  return diag->sweep([&](const TcpSocket& socket) {
    const auto alias = Alias::of(socket.peer);
    return alias && !goes_on(alias->slot, alias->generation);
  });
}

Result<SockDiag::Swept> destroy_tagged_sockets(const SlotNumbers& slots) {
  auto diag = SockDiag::open();
  if (!diag) {
    return tl::make_unexpected(std::move(diag.error()));
  }
  return diag->sweep(
      [&](const TcpSocket& socket) {
        return socket.mark && slots.contains(*socket.mark & MT_TAG_MASK);
      },
      inner_addresses());
}

Result<SockDiag::Swept> destroy_other_tagged_sockets(const SlotNumbers& slots) {
  auto diag = SockDiag::open();
  if (!diag) {
    return tl::make_unexpected(std::move(diag.error()));
  }
  return diag->sweep(
      [&](const TcpSocket& socket) {
        // What is only remembered has no bytes, and no mark.
        return !socket.only_remembered() &&
               !(socket.mark && slots.contains(*socket.mark & MT_TAG_MASK));
      },
      inner_addresses());
}

Status destroy_leftover_sockets() {
  auto diag = SockDiag::open();
  const auto sockets =
      diag ? diag->tcp_sockets(inner_addresses())
           : Result<std::vector<TcpSocket>>(tl::make_unexpected(std::move(diag.error())));
  if (!sockets) {
    return tl::make_unexpected(sockets.error());
  }
  if (std::ranges::any_of(*sockets, &TcpSocket::listening)) {
    return fail(ErrorCode::conflict, "another metatapd listens here");
  }
  if (sockets->empty()) {
    return {};
  }
  const auto swept = diag->sweep([](const TcpSocket&) { return true; }, inner_addresses());
  if (!swept) {
    return tl::make_unexpected(swept.error());
  }
  log::debug("{} sockets of an earlier process destroyed", swept->destroyed);
  return {};
}

bool rest_if_silent(SlotTable& slots, SlotNumbers& retired, const Result<SockDiag::Swept>& swept,
                    std::string_view where) {
  if (!swept && swept.error().code != ErrorCode::unsupported) {
    log::warn("{}: {}; {} slots wait for it", where, swept.error().message, retired.size());
    return false;
  }
  if (swept && swept->left > 0) {
    log::warn("{}: {} sockets of ports that have gone are still there; {} slots wait for them",
              where, swept->left, retired.size());
    return false;
  }
  if (swept && swept->destroyed > 0) {
    log::debug("{}: {} sockets of ports that have gone destroyed", where, swept->destroyed);
  }
  for (const auto slot : std::exchange(retired, {})) {
    slots.rest(slot);
  }
  return true;
}

}  // namespace metatap::dataplane
