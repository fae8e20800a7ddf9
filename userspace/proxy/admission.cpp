// SPDX-License-Identifier: Apache-2.0
#include "proxy/admission.hpp"

#include <atomic>
#include <string>
#include <utility>

#include "base/fair_share.hpp"

namespace metatap::proxy {
namespace {

/// So many connections of a network that are too many get an answer at a time; others are reset.
constexpr unsigned kTurnedAway = 64;

}  // namespace

Admission::Admission(const ProxyOptions& options, std::shared_ptr<const http::Overload> process)
    : most_of_port_(options.max_connections_per_port),
      most_unknown_(options.max_connections_unknown),
      most_of_network_(options.max_connections_per_network),
      process_(std::move(process)),
      ports_(options.rate_limit),
      unknown_(options.rate_limit),
      networks_(options.rate_limit) {}

Refusal Admission::judge(const Admitted& asked, unsigned most_of_port) const {
  if (asked.port.others() >= most_of_port) {
    return Refusal::port;
  }
  if (asked.unknown && !fair_share(asked.port.others(), asked.unknown.others(), most_unknown_)) {
    return Refusal::unknown;
  }
  if (asked.network.others() >= most_of_network_) {
    return Refusal::network;
  }
  const LoadShare& member = asked.unknown ? asked.unknown : asked.port;
  return fair_share(member.others(), asked.network.others(), most_of_network_) &&
                 room_in_process(asked.network.load())
             ? Refusal::none
             : Refusal::crowded;
}

/// For one more of that network; it counts there already, but not yet in the process.
bool Admission::room_in_process(const Load& network) const {
  const unsigned all = network.connections.load(std::memory_order_relaxed) +
                       network.turned_away.load(std::memory_order_relaxed);
  return fair_share(all - 1, process_->connections(), process_->limits().connections);
}

Admitted Admission::admit(const Caller& caller, std::optional<unsigned> most) {
  const Origin& origin = *caller.origin;
  const std::string& network = origin.network_id.empty() ? origin.router_id : origin.network_id;
  const bool device = origin.unknown();
  const bool known = device || !origin.port_id.empty();
  const auto port = !known   ? ports_.at(network + '/' + caller.address)
                    : device ? ports_.at('/' + origin.device)
                             : ports_.at(origin.port_id);
  const auto whole = networks_.at(network);
  // First in, then judged: of two who come at once not both get the last place.
  Admitted asked;
  asked.port = LoadShare(port);
  asked.network = LoadShare(whole);
  if (!known) {
    asked.unknown = LoadShare(unknown_.at(network));
  }
  const Refusal refusal = judge(asked, most.value_or(most_of_port_));
  if (refusal == Refusal::none) {
    return asked;
  }
  asked = Admitted();
  Admitted refused;
  refused.refusal = refusal;
  refused.port = LoadShare(port, &Load::turned_away);
  refused.network = LoadShare(whole, &Load::turned_away);
  refused.answered = fair_share(refused.port.others(), refused.network.others(), kTurnedAway) &&
                     room_in_process(*whole);
  return refused;
}

}  // namespace metatap::proxy
