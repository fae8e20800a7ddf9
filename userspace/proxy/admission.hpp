// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "http/overload.hpp"
#include "metatap/origin.hpp"
#include "proxy/load_table.hpp"
#include "proxy/options.hpp"

namespace metatap::proxy {

/// Why a connection is one too many.
enum class Refusal : std::uint8_t {
  none,
  port,     ///< of its port, or its address where that is no port's
  unknown,  ///< of the addresses of its network or router that are no port's
  network,  ///< of its network or router
  crowded,  ///< of its port or network, now that others have most of what there is
};

/// A connection's places, free again when this goes.
struct Admitted {
  Refusal refusal = Refusal::none;
  bool answered = true;  ///< one that is refused: whether it is told so, or just reset
  LoadShare port, unknown, network;
};

/// Decides who may have another connection, so that nobody can take from others what they need.
///
/// Each port has a cap, for which the inventory may have another number, and so has each network or
/// router. Within its network a port gets its fair
/// share (base/fair_share.hpp), and a network within the process: the fuller, the less for whoever
/// has much, and the last place goes to one who has none. Addresses that are no port's, of which a
/// guest without port security may use any number, count as one port together, with a cap of their
/// own. A device that no port has yet counts as a port, and all such devices as a network.
///
/// Those who are told that they are too many have a few places apart, shared in the same way.
/// Thread-safe.
class Admission {
 public:
  Admission(const ProxyOptions& options, std::shared_ptr<const http::Overload> process);

  /// `most`: of its port, where that has a cap of its own.
  [[nodiscard]] Admitted admit(const Caller& caller, std::optional<unsigned> most = {});

 private:
  [[nodiscard]] Refusal judge(const Admitted& asked, unsigned most_of_port) const;
  [[nodiscard]] bool room_in_process(const Load& network) const;

  const unsigned most_of_port_, most_unknown_, most_of_network_;
  const std::shared_ptr<const http::Overload> process_;
  LoadTable ports_, unknown_, networks_;
};

}  // namespace metatap::proxy
