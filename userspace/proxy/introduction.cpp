// SPDX-License-Identifier: Apache-2.0
#include "proxy/introduction.hpp"

#include <string_view>
#include <utility>

namespace metatap::proxy {

Introduction::Introduction(Handler& next, Caller caller, const ProxyOptions& options,
                           const PortTagKey* key, std::shared_ptr<const void> keeps)
    : next_(next),
      caller_(std::move(caller)),
      rebuilt_(caller_, options, key),
      keeps_(std::move(keeps)) {}

void Introduction::make(std::unique_ptr<Introduction> self, boost::asio::io_context& here) {
  if (self->caller_.origin->revoked()) {
    return;
  }
  constexpr std::string_view kWhatAllAskFirst = "/openstack";
  const Request request{
      .method = "GET", .target = kWhatAllAskFirst, .headers = {}, .body = {}, .peer = &kOurselves};
  auto* const unowned = self.release();  // it goes with its answer, perhaps before ask() returns
  if (unowned->next_.ask(unowned->rebuilt_.of(request), here, *unowned)) {
    self.reset(unowned);
  }
}

void Introduction::answered(Response&& response) noexcept {
  static_cast<void>(response);
  const std::unique_ptr<Introduction> self(this);
}

}  // namespace metatap::proxy
