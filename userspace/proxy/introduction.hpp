// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"
#include "proxy/rebuilt_request.hpp"

namespace metatap::proxy {

/// One question in the name of a guest that has just come, for stages behind that prepare for it.
/// Nobody gets the answer.
class Introduction final : Continuation {
 public:
  /// `keeps`: whatever options and key live in.
  Introduction(Handler& next, Caller caller, const ProxyOptions& options, const PortTagKey* key,
               std::shared_ptr<const void> keeps);

  /// On a worker's thread, while `next` is there. It goes with its answer.
  static void make(std::unique_ptr<Introduction> self, boost::asio::io_context& here);

 private:
  void answered(Response&& response) noexcept override;

  Handler& next_;
  const Caller caller_;
  RebuiltRequest rebuilt_;
  const std::shared_ptr<const void> keeps_;
};

}  // namespace metatap::proxy
