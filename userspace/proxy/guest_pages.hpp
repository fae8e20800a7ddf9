// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "metatap/exchange.hpp"
#include "proxy/access_control.hpp"
#include "proxy/doorkeeper.hpp"
#include "proxy/load_table.hpp"
#include "proxy/options.hpp"

/// What a guest may know of how it is treated, in JSON. The proxy answers it, whoever stands
/// behind, to whom the doorkeeper lets pass:
///
///   GET /metatap/v1/status → how it may ask now, and how much
///   GET /metatap/v1/access → what was answered to it of late, where a ledger is kept; else 404
///
/// Another method → 405; anything else below /metatap → 404: none of it is asked of the stages
/// behind. An address that is no port's has nothing of its own → 404.
namespace metatap::proxy {

/// Of a request's target, in every spelling.
[[nodiscard]] bool is_guest_page(std::string_view target);

/// Who asks: a port, and what it asks of us now.
struct GuestView {
  const ProxyOptions& options;
  PortAccess& port;
  const Load& load;
};
[[nodiscard]] OwnAnswer guest_page(const Request& request, const GuestView& guest);

/// How a port's guest may ask, and how it did.
[[nodiscard]] nlohmann::ordered_json access_json(const AccessStatus& status);

}  // namespace metatap::proxy
