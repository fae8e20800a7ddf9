// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log_limit.hpp"
#include "base/port_tag.hpp"
#include "http/meter.hpp"
#include "http/workers.hpp"
#include "ledger/ledger.hpp"
#include "metatap/exchange.hpp"
#include "metatap/origin.hpp"
#include "proxy/access_control.hpp"
#include "proxy/access_log.hpp"
#include "proxy/admission.hpp"
#include "proxy/change_board.hpp"
#include "proxy/counters.hpp"
#include "proxy/options.hpp"

namespace metatap::proxy {

/// What the sessions of a ProxyStage share; lives as long as the last of them.
struct StageState {
  StageState(Handler& its_next, ProxyOptions its_options, std::optional<PortTagKey> its_key,
             http::Workers& workers);

  Handler& next;
  const ProxyOptions options;
  const std::optional<PortTagKey> key;
  Admission admission;
  const std::shared_ptr<Load> everybody = std::make_shared<Load>();
  const std::shared_ptr<Load> unknown = std::make_shared<Load>();  ///< guests of no port
  std::vector<std::shared_ptr<ChangeBoard>> boards;                ///< of the workers
  AccessControl access;
  std::vector<WorkerCounters> counters;
  http::Meter own, passed;
  std::unique_ptr<ledger::Ledger> ledger;  ///< null: none is kept
  std::function<std::string(std::string_view)> instance_of;
  std::function<void(const AccessEntry&)> tell_own;
  log::Limit without_address, unidentified, refused, unanswered, unknown_devices;

  using Inbox = ledger::Inbox<ledger::Access>;
  /// Of that worker's thread; null: there is no ledger.
  [[nodiscard]] Inbox* inbox(unsigned worker) const {
    return ledger ? &ledger->inbox(worker) : nullptr;
  }
  /// One answer, to the ledger if there is one: then `inbox` is not null. `tenancy`: of the port
  /// when it was asked.
  void keep(Inbox* inbox, const Caller& caller, ledger::Answer answer, std::uint32_t tenancy);
  /// One answer, to the access log in its turn, and, if it was our own, to whom it may concern.
  void note(AccessEntry entry) const;
};

/// Of an answer that the server gave before the proxy was asked: what came is no request, was not
/// whole in time, or there is too much to do.
[[nodiscard]] std::string_view reason_of(const Request* request, const Response& response);

/// As the ledger has it. `request` null: what came was none.
[[nodiscard]] ledger::Answer answer_of(const Request* request, const Response& response,
                                       std::string_view reason);
/// Of an answer that was sent whole.
[[nodiscard]] ledger::Verdict verdict_of(const ledger::Answer& answer);

}  // namespace metatap::proxy
