// SPDX-License-Identifier: Apache-2.0
#include "proxy/refusal_info.hpp"

namespace metatap::proxy {

RefusalInfo info_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::port:
      return {&WorkerCounters::over_port_cap, "over_port_cap", "it has as many as a port may have"};
    case Refusal::unknown:
      return {&WorkerCounters::over_unknown_cap, "over_unknown_cap",
              "addresses that are no port's have as many as they may"};
    case Refusal::network:
      return {&WorkerCounters::over_network_cap, "over_network_cap",
              "its network has as many as it may"};
    case Refusal::crowded:
    case Refusal::none:
      break;
  }
  return {&WorkerCounters::over_fair_share, "over_fair_share", "it has its share"};
}

}  // namespace metatap::proxy
