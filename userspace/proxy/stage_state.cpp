// SPDX-License-Identifier: Apache-2.0
#include "proxy/stage_state.hpp"

#include <utility>

#include "base/boot_time.hpp"
#include "base/log.hpp"

namespace metatap::proxy {

StageState::StageState(Handler& its_next, ProxyOptions its_options,
                       std::optional<PortTagKey> its_key, http::Workers& workers)
    : next(its_next),
      options(std::move(its_options)),
      key(std::move(its_key)),
      admission(options, workers.overload()),
      access(options.access),
      counters(workers.size()),
      own(workers.size()),
      passed(workers.size()) {
  for (unsigned worker = 0; worker < workers.size(); ++worker) {
    boards.push_back(std::make_shared<ChangeBoard>(workers.at(worker)));
  }
  if (!options.ledger.directory.empty()) {
    ledger = std::make_unique<ledger::Ledger>(options.ledger, workers.size());
  }
}

void StageState::note(AccessEntry entry) const {
  if (!entry.reason.empty() && tell_own) {
    tell_own(entry);
  }
  static thread_local unsigned answers = 0;
  if (options.access_log_sample == 0 || ++answers % options.access_log_sample != 0) {
    return;
  }
  const auto instance = instance_of ? instance_of(entry.caller.origin->port_id) : std::string();
  entry.instance = instance;
  log::info("{}", line_of(entry));
}

void StageState::keep(Inbox* inbox, const Caller& caller, ledger::Answer answer,
                      std::uint32_t tenancy) {
  if (inbox == nullptr) {
    return;
  }
  answer.at = boot_time();
  if (!caller.origin->unknown()) {
    access.port_of(*caller.origin).recent().add(answer, tenancy);
  }
  ledger::Access given{answer, caller.origin, {}, caller.address};
  if (instance_of && !caller.origin->port_id.empty()) {
    given.instance = instance_of(caller.origin->port_id);
  }
  inbox->put(std::move(given));
}

std::string_view reason_of(const Request* request, const Response& response) {
  constexpr unsigned kTimeout = 408, kBusy = 503;
  if (response.status == kTimeout) {
    return "timeout";
  }
  return request != nullptr || response.status == kBusy ? "overload" : "malformed";
}

ledger::Answer answer_of(const Request* request, const Response& response,
                         std::string_view reason) {
  ledger::Answer answer;
  if (request != nullptr) {
    answer.path = ledger::known_path(request->target);
    answer.method = ledger::known_method(request->method);
  }
  answer.status = response.status;
  answer.bytes = response.body.size();
  answer.reason = reason;
  return answer;
}

ledger::Verdict verdict_of(const ledger::Answer& answer) {
  constexpr unsigned kFirstError = 400;
  if (answer.status < kFirstError) {
    return ledger::Verdict::answered;
  }
  return answer.reason.empty() ? ledger::Verdict::failed : ledger::Verdict::refused;
}

}  // namespace metatap::proxy
