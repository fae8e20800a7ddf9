// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <memory>

#include "http/acceptor.hpp"
#include "metatap/origin.hpp"
#include "proxy/admission.hpp"
#include "proxy/stage_state.hpp"

namespace metatap::proxy {

/// A connection of a guest of whom nobody has said yet who it is (Origin::unknown()).
struct UnknownConnection {
  int fd = -1;  ///< the HTTP session's, which closes it
  sockaddr_storage peer{};
  Caller caller;
  Admitted places;
  std::shared_ptr<const CallerResolver> resolver;
};

/// Holds its requests until somebody says whose the device is, for `[proxy] hold_unknown` at most;
/// then they are answered 503. Once it is known it is asked anew who has the connection, which from
/// then on is a guest's session like one that was accepted in that moment. Nothing of a request
/// goes to the stages behind before that. Used on that worker's thread alone.
[[nodiscard]] std::unique_ptr<http::ClientHandler> make_unknown_guest(
    std::shared_ptr<StageState> shared, unsigned worker, UnknownConnection connection);

}  // namespace metatap::proxy
