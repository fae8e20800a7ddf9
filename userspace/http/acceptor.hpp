// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <memory>

#include "metatap/exchange.hpp"

namespace metatap::http {

/// The stage behind one connection: who the client is and what becomes of its requests. Made by an
/// Acceptor, owned by the session, used on one worker's thread only.
class ClientHandler : public Handler {
 public:
  /// Asked before each request is answered; false resets the connection.
  [[nodiscard]] virtual bool permitted() { return true; }
  /// Of whom the requests are said to come.
  [[nodiscard]] virtual const Peer& peer() const = 0;
  /// After each response, also those the server makes itself (then `request` is null). `read`: how
  /// long the request took to arrive, from its first bytes.
  virtual void responded(const Request* request, const Response& response,
                         std::chrono::milliseconds read) {
    static_cast<void>(request);
    static_cast<void>(response);
    static_cast<void>(read);
  }
};

/// Decides about connections as they are accepted. Called on the worker that will serve them;
/// several workers may call at once.
class Acceptor {
 public:
  virtual ~Acceptor() = default;
  /// Null: the connection is reset.
  [[nodiscard]] virtual std::unique_ptr<ClientHandler> accept(int fd, const sockaddr_storage& peer,
                                                              unsigned worker) = 0;
};

}  // namespace metatap::http
