// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <memory>
#include <optional>

#include "metatap/exchange.hpp"

namespace metatap::http {

/// The owner's side of one connection: who it is and, as a Handler, what becomes of its requests.
/// Made by a Reception, owned by the session, used on one worker's thread only.
class Visitor : public Handler {
 public:
  /// Asked before each request is answered; false closes the connection without a word.
  [[nodiscard]] virtual bool welcome() { return true; }
  /// Of whom the requests are said to come.
  [[nodiscard]] virtual const Peer& peer() const = 0;
  /// After each response, also those the server makes itself (then `request` is null).
  virtual void responded(const Request* request, const Response& response) {
    static_cast<void>(request);
    static_cast<void>(response);
  }
};

/// Decides about connections as they are accepted. Called on the worker that will serve them;
/// several workers may call at once.
class Reception {
 public:
  virtual ~Reception() = default;
  /// Null: the connection is reset.
  [[nodiscard]] virtual std::unique_ptr<Visitor> admit(int fd, const sockaddr_storage& peer,
                                                       unsigned worker) = 0;
};

}  // namespace metatap::http
