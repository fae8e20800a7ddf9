// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/port_tag.hpp"
#include "http/meter.hpp"
#include "http/socket_server.hpp"
#include "http/workers.hpp"
#include "ledger/ledger.hpp"
#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"
#include "proxy/access_control.hpp"
#include "proxy/access_log.hpp"
#include "proxy/counters.hpp"
#include "proxy/options.hpp"
#include "proxy/stage_state.hpp"

namespace metatap::proxy {

/// The proxy: takes guests' connections, of which the data plane knows the owner, and puts each
/// request to the next stage in that owner's name.
///
/// The request for the next stage is built anew from method, target, body and our own headers, as
/// Neutron's proxies name them: X-Forwarded-For, and X-Neutron-Router-ID on the router path or
/// X-Neutron-Network-ID on the others; X-Metatap-Port-ID when the port is known, with
/// X-Metatap-Port-Signature when the agent is another process and not Neutron's, which gets
/// neither. Of the guest's headers only Accept goes on (it selects the form of an error page). So
/// nothing a guest writes can speak for another.
///
/// Requests from a device that no port has yet are held (unknown_guest.hpp). A connection without
/// an owner is reset. One whose owner is revoked is reset at its next request.
/// A connection too many (admission.hpp) is answered 503 with Retry-After and closed, and of those
/// that come all at once most are reset.
///
/// Any thread may call. The workers and `next` must outlive the stage.
class ProxyStage {
 public:
  /// `key`: signs the port tag for a `next` that leads to another process; in this one no tag needs
  /// a signature.
  ProxyStage(http::Workers& workers, Handler& next, ProxyOptions options,
             std::optional<PortTagKey> key = {});
  ~ProxyStage();
  ProxyStage(const ProxyStage&) = delete;
  ProxyStage& operator=(const ProxyStage&) = delete;

  /// Whose a port is, for the access log; called for each line of it. Before the first open().
  void name_instances(std::function<std::string(std::string_view port_id)> instance_of);
  /// Whoever wants to hear of answers that the proxy gave itself, on a worker's thread. Before the
  /// first open().
  void tell_own_answers(std::function<void(const AccessEntry&)> tell);
  /// Puts one question in the name of a guest that has just come, for stages behind that prepare
  /// for it; nobody gets the answer. Any thread.
  void introduce(Caller caller);
  /// Of these ports answers may be others now: requests that wait for that look. Any thread.
  void changed(std::vector<std::string> ports);
  /// Devices may have ports that had none: requests that are held for that look. Any thread.
  void named();
  /// Accepts from now on; `resolver` says whose the connections are.
  void open(GuestListener listener, std::shared_ptr<const CallerResolver> resolver);
  /// Its descriptor is closed when this returns, and so are the connections accepted from it.
  void close(const std::string& name);

  /// Nothing new comes in, what runs goes on: http::SocketServer::drain().
  void drain();
  [[nodiscard]] unsigned open_connections() const { return server_.open_connections(); }
  void stop(std::chrono::milliseconds drain = std::chrono::seconds(5));
  [[nodiscard]] ProxyCounters counters() const;
  /// Session tokens, boot windows and sealed paths.
  [[nodiscard]] AccessControl& access() { return shared_->access; }
  [[nodiscard]] const AccessControl& access() const { return shared_->access; }
  /// Null: none is kept.
  [[nodiscard]] const ledger::Ledger* ledger() const { return shared_->ledger.get(); }
  struct Measured {
    http::Meter::Sums own;     ///< what the proxy answered itself
    http::Meter::Sums passed;  ///< what went on to the next stage, and back
  };
  [[nodiscard]] Measured measured() const;

 private:
  http::Workers& workers_;
  std::shared_ptr<StageState> shared_;
  http::SocketServer server_;
};

}  // namespace metatap::proxy
