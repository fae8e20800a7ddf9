// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "admin/trace_log.hpp"
#include "metatap/exchange.hpp"

namespace metatap::admin {

/// Stands between two stages and, while somebody looks on, tells of each request what became of it
/// and how long those behind it took. One before the agent makes a line; one before the API adds
/// its part to the line of the request that is under way. Otherwise it hands on. Thread-safe; what
/// it is made of outlives it.
class RequestWatch final : public Handler {
 public:
  enum class Before : bool { agent, api };
  RequestWatch(Handler& next, TraceLog& log, Before before)
      : next_(next), log_(log), before_(before) {}

 private:
  class Watched;
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;

  Handler& next_;
  TraceLog& log_;
  const Before before_;
};

}  // namespace metatap::admin
