// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "base/port_tag.hpp"
#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"
#include "proxy/options.hpp"

namespace metatap::proxy {

/// What the next stage gets of a guest's requests: method, target, body, Accept, and headers of
/// ours that name the guest as the data plane knows it (see ProxyStage). One for each connection;
/// stays where it is, and refers to what it is made of.
class RebuiltRequest {
 public:
  /// `key`: signs the port tag for an agent in another process; null: none is needed.
  RebuiltRequest(const Caller& caller, const ProxyOptions& options, const PortTagKey* key);
  RebuiltRequest(const RebuiltRequest&) = delete;
  RebuiltRequest& operator=(const RebuiltRequest&) = delete;

  /// `accept`: the guest's header of that name. Valid until the next call, and as long as the
  /// guest's request is.
  [[nodiscard]] const Request& of(const Request& guests,
                                  std::optional<std::string_view> accept = {});

 private:
  void add(std::string_view name, std::string_view value) { headers_[count_++] = {name, value}; }
  void sign(const Caller& caller, const PortTagKey& key);

  const bool neutron_agent_;
  Signature signature_{};
  std::array<Header, 6> headers_;
  std::size_t count_ = 0;
  Request request_;
};

/// Printable ASCII, which a header value and a request target are made of.
[[nodiscard]] bool is_printable(std::string_view text);

}  // namespace metatap::proxy
