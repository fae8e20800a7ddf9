// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>

#include "http/acceptor.hpp"
#include "metatap/origin.hpp"
#include "proxy/admission.hpp"
#include "proxy/stage_state.hpp"

namespace metatap::proxy {

/// A guest's end of a connection.
struct GuestSocket {
  int fd = -1;                    ///< the HTTP session's, which closes it
  std::uint16_t source_port = 0;  ///< the guest's
  static GuestSocket of(int fd, const sockaddr_storage& peer);
};

/// Judges each request of one guest's connection, puts it to the next stage in its port's name, and
/// tells counters, access log and ledger what became of it. Used on that worker's thread alone.
[[nodiscard]] std::unique_ptr<http::ClientHandler> make_guest_session(
    std::shared_ptr<StageState> shared, unsigned worker, Caller caller, Admitted places,
    GuestSocket socket);

}  // namespace metatap::proxy
