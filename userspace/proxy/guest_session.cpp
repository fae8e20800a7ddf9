// SPDX-License-Identifier: Apache-2.0
#include "proxy/guest_session.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "http/deadlines.hpp"
#include "http/error_page.hpp"
#include "http/joined.hpp"
#include "http/response_writer.hpp"
#include "proxy/ask_again.hpp"
#include "proxy/doorkeeper.hpp"
#include "proxy/etag.hpp"
#include "proxy/guest_pages.hpp"
#include "proxy/long_poll.hpp"
#include "proxy/rebuilt_request.hpp"

namespace metatap::proxy {
namespace {

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

/// One guest's connection.
class GuestSession final : public http::ClientHandler, Continuation {
 public:
  GuestSession(std::shared_ptr<StageState> shared, unsigned worker, Caller caller, Admitted places,
               GuestSocket socket)
      : shared_(std::move(shared)),
        counters_(shared_->counters[worker]),
        board_(*shared_->boards[worker]),
        inbox_(shared_->inbox(worker)),
        caller_(std::move(caller)),
        places_(std::move(places)),
        fd_(socket.fd),
        port_(shared_->access.port_of(*caller_.origin)),
        doorkeeper_(shared_->access, port_, caller_.address, socket.source_port),
        rebuilt_(caller_, shared_->options, shared_->key ? &*shared_->key : nullptr),
        again_(shared_->options.others_behind ? AskAgain::of(*caller_.origin, shared_->next, board_)
                                              : nullptr) {
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
      doorkeeper_.given();
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
        tenancy_ = port_.tenancy();
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
      tenancy_ = port_.tenancy();
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
    auto& next = again_ ? *again_ : shared_->next;
    auto response = long_poll_ ? long_poll_->ask(next, waiting_form_of(request), *this)
                               : next.ask(rebuilt_.of(request, accept_), here, *this);
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
    if (auto own = doorkeeper_.give(response)) {
      reason_ = own->reason;
      response = std::move(own->response);
    }
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
    shared_->keep(inbox_, caller_, answer_, tenancy_);
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
    if (!judged && is_guest_page(request.target)) {
      return guest_page(request, {shared_->options, port_, places_.port.load()});
    }
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

  std::shared_ptr<StageState> shared_;
  WorkerCounters& counters_;
  ChangeBoard& board_;
  StageState::Inbox* const inbox_;  ///< null: there is no ledger
  Caller caller_;
  const Admitted places_;
  const int fd_;  ///< the session's
  PortAccess& port_;
  Doorkeeper doorkeeper_;
  RebuiltRequest rebuilt_;
  const std::unique_ptr<AskAgain> again_;   ///< in front of the stages behind, or null
  std::optional<std::string_view> accept_;  ///< of the request that is under way
  std::string accepts_;                     ///< where it says that more than once
  std::optional<std::string_view> if_none_match_;
  std::unique_ptr<LongPoll> long_poll_;  ///< where it waits for a change, or did
  const Request* waiting_ = nullptr;     ///< it, then
  Continuation* then_ = nullptr;
  Clock::time_point began_, answered_;
  PathClass path_ = PathClass::other;
  std::string_view reason_;    ///< why the stages behind were not asked; empty: they were
  ledger::Answer answer_;      ///< to the request that is under way
  std::uint32_t tenancy_ = 0;  ///< whose that is
  bool in_flight_ = false;
  bool get_ = false;
};

static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));

}  // namespace

/// The data plane leaves the guest's port as it is.
GuestSocket GuestSocket::of(int fd, const sockaddr_storage& peer) {
  sockaddr_in either{};  // v6 has it at the same place
  std::memcpy(&either, &peer, sizeof(either));
  const bool known = peer.ss_family == AF_INET || peer.ss_family == AF_INET6;
  return {fd, known ? ntohs(either.sin_port) : std::uint16_t{UINT16_MAX}};
}

std::unique_ptr<http::ClientHandler> make_guest_session(std::shared_ptr<StageState> shared,
                                                        unsigned worker, Caller caller,
                                                        Admitted places, GuestSocket socket) {
  return std::make_unique<GuestSession>(std::move(shared), worker, std::move(caller),
                                        std::move(places), socket);
}

}  // namespace metatap::proxy
