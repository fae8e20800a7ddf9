// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "http/acceptor.hpp"
#include "http/response_writer.hpp"
#include "metatap/exchange.hpp"

namespace metatap::http {

/// A connection too many: its first request is told to come back later.
class TurnedAway : public ClientHandler {
 public:
  [[nodiscard]] const Peer& peer() const override { return nobody_; }

 private:
  [[nodiscard]] std::optional<Response> handle(const Request&, boost::asio::io_context&,
                                               Continuation&) override {
    return busy_response("too many connections");
  }

  const Peer nobody_;
};

}  // namespace metatap::http
