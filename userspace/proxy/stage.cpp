// SPDX-License-Identifier: Apache-2.0
#include "proxy/stage.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <boost/algorithm/string/predicate.hpp>
#include <boost/asio/post.hpp>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/boot_time.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "http/deadlines.hpp"
#include "http/endpoint.hpp"
#include "http/error_page.hpp"
#include "http/joined.hpp"
#include "http/response_writer.hpp"
#include "http/turned_away.hpp"
#include "proxy/doorkeeper.hpp"
#include "proxy/etag.hpp"
#include "proxy/introduction.hpp"
#include "proxy/long_poll.hpp"
#include "proxy/rebuilt_request.hpp"

namespace metatap::proxy {
namespace {

static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

using Clock = http::Meter::Clock;

/// What haproxy answers 400 (a tunnel, bytes that no target has, a fragment), and percent signs
/// that each of those behind us would read in its own way.
bool can_be_a_request(const Request& request) {
  return request.method != "CONNECT" && is_printable(request.target) &&
         request.target.find('#') == std::string_view::npos &&
         (request.target.find('%') == std::string_view::npos || percent_decoded(request.target));
}

Response malformed(std::string_view detail) {
  auto response = http::plain_response(400, detail);
  response.close = true;
  return response;
}

/// From which port the guest asks; the data plane leaves that as it is.
std::uint16_t source_port_of(const sockaddr_storage& peer) {
  sockaddr_in either{};  // v6 has it at the same place
  std::memcpy(&either, &peer, sizeof(either));
  const bool known = peer.ss_family == AF_INET || peer.ss_family == AF_INET6;
  return known ? ntohs(either.sin_port) : UINT16_MAX;
}

/// What a connection is refused for: as it is counted, in a word, and in the log.
struct RefusalInfo {
  http::Count WorkerCounters::* counter;
  std::string_view word, sentence;
};

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

/// Of an answer that the server gave before the proxy was asked: what came is no request, was not
/// whole in time, or there is too much to do.
std::string_view reason_of(const Request* request, const Response& response) {
  constexpr unsigned kTimeout = 408, kBusy = 503;
  if (response.status == kTimeout) {
    return "timeout";
  }
  return request != nullptr || response.status == kBusy ? "overload" : "malformed";
}

/// `request` null: what came was none.
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

/// Of an answer that was sent whole.
ledger::Verdict verdict_of(const ledger::Answer& answer) {
  constexpr unsigned kFirstError = 400;
  if (answer.status < kFirstError) {
    return ledger::Verdict::answered;
  }
  return answer.reason.empty() ? ledger::Verdict::failed : ledger::Verdict::refused;
}

}  // namespace

/// One guest's connection.
class ProxyStage::GuestSession final : public http::ClientHandler, Continuation {
 public:
  GuestSession(std::shared_ptr<Shared> shared, WorkerCounters& counters, ChangeBoard& board,
               Caller caller, Admitted places, int fd, std::uint16_t source_port,
               Shared::Inbox* inbox)
      : shared_(std::move(shared)),
        counters_(counters),
        board_(board),
        inbox_(inbox),
        caller_(std::move(caller)),
        places_(std::move(places)),
        fd_(fd),
        doorkeeper_(shared_->access, shared_->access.port_of(*caller_.origin), caller_.address,
                    source_port),
        rebuilt_(caller_, shared_->options, shared_->key ? &*shared_->key : nullptr) {
    ++counters_.connections;
  }
  ~GuestSession() override {
    if (in_flight_) {
      --counters_.in_flight;
      if (answer_.status != 0) {  // there was an answer, and not all of it was sent
        keep(ledger::Verdict::cut);
      }
    }
  }

  [[nodiscard]] bool permitted() override {
    if (caller_.origin->revoked()) {
      ++counters_.revoked;
      return false;
    }
    return true;
  }
  [[nodiscard]] const Peer& peer() const override { return kOurselves; }

  void responded(const Request* request, const Response& response,
                 std::chrono::milliseconds read) override {
    const bool asked = std::exchange(in_flight_, false);
    if (asked) {
      --counters_.in_flight;
      if (response.status >= 502 && response.status <= 504) {
        ++counters_.upstream_errors;
      }
    } else {  // the server's own answer
      shared_->own.answered(
          request != nullptr ? path_class_of(request->target) : PathClass::malformed,
          response.status);
    }
    if (response.status < counters_.responses.size()) {
      ++counters_.responses[response.status];
    }
    if (response.status >= 500) {
      shared_->unanswered.warn("port {}: its guest at {} was answered {}", caller_.origin->port_id,
                               caller_.address, response.status);
    }
    if (!asked || !reason_.empty() || shared_->options.access_log_sample != 0) {
      note(request, response, read, asked);
    }
    if (inbox_ != nullptr) {
      if (!asked) {
        answer_ = answer_of(request, response, reason_of(request, response));
      }
      keep(verdict_of(answer_));
    }
  }

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override {
    ++counters_.in_flight;
    in_flight_ = true;
    path_ = path_class_of(request.target);
    reason_ = {};
    began_ = Clock::now();
    if (inbox_ != nullptr) {
      answer_ = answer_of(&request, {.status = 0}, {});
    }
    long_poll_.reset();
    auto own = own_answer(request);
    if (!own && request.target.find('?') != std::string_view::npos) {
      own = begin_wait(request);
    }
    if (own) {
      reason_ = own->reason;
      measure(shared_->own, own->response.status);
      describe(own->response);
      return std::move(own->response);
    }
    then_ = &then;
    get_ = request.method == "GET";
    auto response = long_poll_ ? long_poll_->ask(shared_->next, waiting_form_of(request), *this)
                               : shared_->next.ask(rebuilt_.of(request, accept_), here, *this);
    if (response) {
      complete(*response);
    }
    return response;
  }

  void answered(Response&& response) noexcept override {
    complete(response);
    std::exchange(then_, nullptr)->answered(std::move(response));
  }

  /// What the stages behind have answered, as the guest gets it.
  void complete(Response& response) {
    if (long_poll_) {
      answered_ = Clock::now();  // how long it waited is nobody's slowness
      if (auto own =
              doorkeeper_.judge(*waiting_, NotedHeaders::of(*waiting_), Doorkeeper::Look::again)) {
        reason_ = own->reason;  // what may be read is a matter of when it is read
        response = std::move(own->response);
      }
    } else {
      measure(shared_->passed, response.status);
    }
    tag(response);
    describe(response);
  }

  void tag(Response& response) const {
    const EtagMode mode = shared_->options.etags;
    const bool wanted = long_poll_ || mode == EtagMode::always ||
                        (mode == EtagMode::asked && if_none_match_.has_value());
    if (!wanted || !get_ || response.status != 200) {
      return;
    }
    auto etag = etag_of(response.body);
    if (mode != EtagMode::off && if_none_match_ && names_etag(*if_none_match_, etag)) {
      response = {};
      response.status = 304;
    }
    response.headers.emplace_back("ETag", std::move(etag));
  }

  const Request& waiting_form_of(const Request& request) {
    Request form = request;
    form.target = long_poll_->target();
    return rebuilt_.of(form, accept_);
  }

  /// nullopt: it waits for nothing, or may.
  [[nodiscard]] std::optional<OwnAnswer> begin_wait(const Request& request) {
    auto query = ChangeQuery::of(request.target);
    if (!query) {
      return OwnAnswer{http::plain_response(400, query.error()), "malformed"};
    }
    if (!*query || !(*query)->wait) {
      return std::nullopt;
    }
    if (request.method != "GET") {
      return OwnAnswer{http::plain_response(400, "only a GET waits for changes"), "malformed"};
    }
    const LongPollRules& rules = shared_->options.long_poll;
    auto place = places_.port.also(&Load::waiting);
    LoadShare everybody(shared_->everybody, &Load::waiting);
    if (place.others() >= rules.most_of_port || everybody.others() >= rules.most) {
      ++counters_.waits_refused;
      return OwnAnswer{http::busy_response("too many wait already"), "too_many_wait"};
    }
    waiting_ = &request;
    long_poll_ = std::make_unique<LongPoll>(rules, *std::move(*query),
                                            LongPoll::Guest{*caller_.origin, fd_, counters_},
                                            std::move(place), std::move(everybody), board_);
    return std::nullopt;
  }

  void measure(http::Meter& meter, unsigned status) {
    answered_ = Clock::now();
    meter.answered(path_, status, answered_ - began_);
  }

  /// For the ledger.
  void describe(const Response& response) {
    if (inbox_ == nullptr) {
      return;
    }
    answer_.status = response.status;
    answer_.bytes = response.body.size();
    answer_.reason = reason_;
  }

  void keep(ledger::Verdict verdict) {
    answer_.verdict = verdict;
    shared_->keep(inbox_, caller_, answer_);
    answer_ = {};
  }

  /// Where the stages behind are not asked; nullopt: it goes on.
  [[nodiscard]] std::optional<OwnAnswer> own_answer(const Request& request) {
    if (!can_be_a_request(request)) {
      return OwnAnswer{malformed("malformed request"), "malformed"};
    }
    if (caller_.address_is_guests_choice && shared_->options.neutron_agent) {
      return OwnAnswer{refuse_address(request), "no_fixed_address"};
    }
    const RateLimit& limit = shared_->options.rate_limit;
    if (limit.enabled && !places_.port.load().rate.allow(limit, http::Deadlines::now())) {
      ++counters_.rate_limited;
      return OwnAnswer{http::plain_response(429), "rate_limited"};
    }
    const auto noted = NotedHeaders::of(request);
    accept_ = noted.accept;
    if_none_match_ = noted.if_none_match;
    if (noted.accepts > 1) {
      accepts_ = http::joined(request, "Accept");
      accept_ = accepts_;
    }
    auto judged = doorkeeper_.judge(request, noted);
    answer_.token = doorkeeper_.token();
    return judged;
  }

  void note(const Request* request, const Response& response, std::chrono::milliseconds read,
            bool asked) const {
    const auto microseconds = [](Clock::duration time) {
      return std::chrono::duration_cast<std::chrono::microseconds>(time);
    };
    AccessEntry entry{.caller = caller_,
                      .request = request,
                      .status = response.status,
                      .bytes = response.body.size(),
                      .read = read,
                      .reason = asked ? reason_ : reason_of(request, response)};
    if (asked) {
      entry.stages = microseconds(answered_ - began_);
      entry.write = microseconds(Clock::now() - answered_);
    }
    shared_->note(entry);
  }

  /// Neutron's agent goes by the address alone, and one that a guest chose may be another's.
  [[nodiscard]] Response refuse_address(const Request& request) const {
    shared_->without_address.warn(
        "port {} has no fixed address by which Neutron's agent could know it: 404",
        caller_.origin->port_id);
    return http::error_page(request, 404);
  }

  std::shared_ptr<Shared> shared_;
  WorkerCounters& counters_;
  ChangeBoard& board_;
  Shared::Inbox* const inbox_;  ///< null: there is no ledger
  Caller caller_;
  const Admitted places_;
  const int fd_;  ///< the session's
  Doorkeeper doorkeeper_;
  RebuiltRequest rebuilt_;
  std::optional<std::string_view> accept_;  ///< of the request that is under way
  std::string accepts_;                     ///< where it says that more than once
  std::optional<std::string_view> if_none_match_;
  std::unique_ptr<LongPoll> long_poll_;  ///< where it waits for a change, or did
  const Request* waiting_ = nullptr;     ///< it, then
  Continuation* then_ = nullptr;
  Clock::time_point began_, answered_;
  PathClass path_ = PathClass::other;
  std::string_view reason_;  ///< why the stages behind were not asked; empty: they were
  ledger::Answer answer_;    ///< to the request that is under way
  bool in_flight_ = false;
  bool get_ = false;
};

/// A connection too many.
class ProxyStage::Refused final : public http::TurnedAway {
 public:
  Refused(std::shared_ptr<Shared> shared, WorkerCounters& counters, Caller caller, Admitted places,
          Shared::Inbox* inbox)
      : shared_(std::move(shared)),
        counters_(counters),
        inbox_(inbox),
        caller_(std::move(caller)),
        places_(std::move(places)) {}

  void responded(const Request* request, const Response& response,
                 std::chrono::milliseconds read) override {
    ++counters_.responses[std::min<std::size_t>(response.status, counters_.responses.size() - 1)];
    const auto reason = info_of(places_.refusal).word;
    shared_->note({.caller = caller_,
                   .request = request,
                   .status = response.status,
                   .bytes = response.body.size(),
                   .read = read,
                   .reason = reason});
    if (inbox_ != nullptr) {
      auto answer = answer_of(request, response, reason);
      answer.verdict = verdict_of(answer);
      shared_->keep(inbox_, caller_, answer);
    }
  }

 private:
  const std::shared_ptr<Shared> shared_;
  WorkerCounters& counters_;
  Shared::Inbox* const inbox_;
  const Caller caller_;
  const Admitted places_;
};

/// Finds out whose a connection from one listener is.
class ProxyStage::GuestAcceptor final : public http::Acceptor {
 public:
  GuestAcceptor(std::shared_ptr<Shared> shared, std::shared_ptr<const CallerResolver> resolver)
      : shared_(std::move(shared)), resolver_(std::move(resolver)) {}

  [[nodiscard]] std::unique_ptr<http::ClientHandler> accept(int fd, const sockaddr_storage& peer,
                                                            unsigned worker) override {
    WorkerCounters& counters = shared_->counters[worker];
    Caller caller = resolver_->caller_of(fd, peer);
    if (!caller.origin || caller.origin->revoked()) {
      ++counters.unidentified;
      shared_->unidentified.warn("a connection{}{} is reset: it is no port's, or not any more",
                                 caller.address.empty() ? "" : " from ", caller.address);
      return nullptr;
    }
    Admitted places =
        shared_->admission.admit(caller, shared_->access.port_of(*caller.origin).connections());
    auto* const inbox = shared_->ledger ? &shared_->ledger->inbox(worker) : nullptr;
    if (places.refusal == Refusal::none) {
      return std::make_unique<GuestSession>(shared_, counters, *shared_->boards[worker],
                                            std::move(caller), std::move(places), fd,
                                            source_port_of(peer), inbox);
    }
    const auto refusal = info_of(places.refusal);
    ++(counters.*refusal.counter);
    shared_->refused.warn("port {}: a connection of its guest at {} is refused: {}",
                          caller.origin->port_id, caller.address, refusal.sentence);
    if (!places.answered) {
      return nullptr;
    }
    return std::make_unique<Refused>(shared_, counters, std::move(caller), std::move(places),
                                     inbox);
  }

 private:
  std::shared_ptr<Shared> shared_;
  std::shared_ptr<const CallerResolver> resolver_;
};

ProxyStage::Shared::Shared(Handler& its_next, ProxyOptions its_options,
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

ProxyStage::ProxyStage(http::Workers& workers, Handler& next, ProxyOptions options,
                       std::optional<PortTagKey> key)
    : workers_(workers),
      shared_(std::make_shared<Shared>(next, std::move(options), std::move(key), workers)),
      server_(workers, shared_->options.limits) {}

ProxyStage::~ProxyStage() {
  stop(std::chrono::milliseconds(0));
}

void ProxyStage::open(GuestListener listener, std::shared_ptr<const CallerResolver> resolver) {
  http::tune_listener(listener.fd.get());
  server_.open(listener.worker, std::move(listener.fd), std::move(listener.name),
               std::make_shared<GuestAcceptor>(shared_, std::move(resolver)),
               listener.alone ? http::Share::out : http::Share::keep);
}

void ProxyStage::Shared::note(AccessEntry entry) const {
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

void ProxyStage::Shared::keep(Inbox* inbox, const Caller& caller,
                              const ledger::Answer& answer) const {
  if (inbox == nullptr) {
    return;
  }
  ledger::Access given{answer, caller.origin, {}, caller.address};
  given.at = boot_time();
  if (instance_of && !caller.origin->port_id.empty()) {
    given.instance = instance_of(caller.origin->port_id);
  }
  inbox->put(std::move(given));
}

void ProxyStage::tell_own_answers(std::function<void(const AccessEntry&)> tell) {
  shared_->tell_own = std::move(tell);
}

void ProxyStage::name_instances(std::function<std::string(std::string_view)> instance_of) {
  shared_->instance_of = std::move(instance_of);
}

ProxyStage::Measured ProxyStage::measured() const {
  return {shared_->own.sums(), shared_->passed.sums()};
}

void ProxyStage::close(const std::string& name) {
  server_.close(name);
}

void ProxyStage::introduce(Caller caller) {
  auto& here = workers_.at(0);
  auto its = std::make_unique<Introduction>(shared_->next, std::move(caller), shared_->options,
                                            shared_->key ? &*shared_->key : nullptr, shared_);
  boost::asio::post(here, [&here, shared = shared_, its = std::move(its)]() mutable {
    if (!shared->boards.front()->ended()) {
      Introduction::make(std::move(its), here);
    }
  });
}

void ProxyStage::changed(std::vector<std::string> ports) {
  const auto all = std::make_shared<const ChangeBoard::Ports>(
      std::make_move_iterator(ports.begin()), std::make_move_iterator(ports.end()));
  for (const auto& board : shared_->boards) {
    board->changed(all);
  }
}

void ProxyStage::drain() {
  server_.drain();
  for (const auto& board : shared_->boards) {
    board->end();
  }
}

void ProxyStage::stop(std::chrono::milliseconds longest) {
  drain();
  server_.stop(longest);
  // Nobody may ask the next stage any more once this returns.
  for (unsigned worker = 0; worker < shared_->boards.size(); ++worker) {
    workers_.run_on(worker, [board = shared_->boards[worker]] { board->close(); });
  }
}

ProxyCounters ProxyStage::counters() const {
  ProxyCounters sum{server_.counters(), {}, {}};
  for (const WorkerCounters& worker : shared_->counters) {
    sum += worker;
    for (unsigned status = 0; status < worker.responses.size(); ++status) {
      if (const std::uint64_t count = worker.responses[status]; count != 0) {
        sum.responses[status] += count;
      }
    }
  }
  return sum;
}

}  // namespace metatap::proxy
