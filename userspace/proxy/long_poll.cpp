// SPDX-License-Identifier: Apache-2.0
#include "proxy/long_poll.hpp"

#include <algorithm>
#include <utility>

#include "http/response_writer.hpp"
#include "proxy/etag.hpp"
#include "proxy/hung_up.hpp"

namespace metatap::proxy {

LongPoll::LongPoll(const LongPollRules& rules, ChangeQuery query, Guest guest, LoadShare place,
                   LoadShare everybody, ChangeBoard& board)
    : Waiter(board),
      rules_(rules),
      query_(std::move(query)),
      guest_(guest),
      place_(std::move(place)),
      everybody_(std::move(everybody)),
      here_(board.context()),
      budget_(http::OverloadShare::of(here_)),
      until_(http::Deadlines::now() +
             std::min(rules.longest, std::chrono::milliseconds(
                                         query_.timeout.value_or(std::chrono::hours(24 * 365))))
                 .count()) {}

LongPoll::~LongPoll() {
  wake();
}

std::optional<Response> LongPoll::ask(Handler& next, const Request& request, Continuation& then) {
  next_ = &next;
  request_ = &request;
  then_ = &then;
  join(guest_.origin.port_id);  // first: what changes while we ask must not be missed
  return ask_now();
}

std::optional<Response> LongPoll::ask_now() {
  for (;;) {
    again_ = false;
    asking_ = true;
    auto response = next_->ask(*request_, here_, *this);
    if (!response) {
      return std::nullopt;
    }
    asking_ = false;
    if (auto own = judge(std::move(*response))) {
      end();
      return own;
    }
    if (!again_) {
      rest();
      return std::nullopt;
    }
  }
}

void LongPoll::answered(Response&& response) noexcept {
  asking_ = false;
  if (auto own = judge(std::move(response))) {
    finish(std::move(*own));
    return;
  }
  if (!again_) {
    rest();
  } else if (auto other = ask_now()) {
    finish(std::move(*other));
  }
}

std::optional<Response> LongPoll::judge(Response&& response) {
  const bool first = std::exchange(first_, false);
  if (is_over() || (response.status != 200 && (first || response.status < 500))) {
    return std::move(response);
  }
  if (response.status != 200) {
    return std::nullopt;
  }
  auto etag = etag_of(response.body);
  if (!query_.last_etag) {
    query_.last_etag = std::move(etag);
    return std::nullopt;
  }
  return names_etag(*query_.last_etag, etag) ? std::nullopt : std::optional(std::move(response));
}

bool LongPoll::is_over() const {
  return gone_ || process_ends() || http::Deadlines::now() >= until_;
}

void LongPoll::rest() {
  if (!std::exchange(resting_, true)) {
    --guest_.counters.in_flight;
    --budget_.counts.requests_in_flight;
    ++guest_.counters.waiting;
  }
  look_at(std::min(until_, http::Deadlines::now() + rules_.look_every.count()));
}

void LongPoll::wake() {
  if (std::exchange(resting_, false)) {
    ++guest_.counters.in_flight;
    ++budget_.counts.requests_in_flight;
    --guest_.counters.waiting;
  }
}

void LongPoll::look() noexcept {
  if (asking_) {
    again_ = true;
    return;
  }
  wake();
  gone_ = hung_up(guest_.fd);
  if (guest_.origin.revoked()) {
    finish(http::busy_response("the port is another's"));
  } else if (auto response = ask_now()) {
    finish(std::move(*response));
  }
}

void LongPoll::give_up() noexcept {
  end();
  if (!asking_) {  // else the stages behind answer, as the context ends for them too
    finish(http::busy_response("the service ends"));
  }
}

/// The session keeps us until its next request; others may have our places before that.
void LongPoll::end() noexcept {
  leave();
  wake();
  place_ = {};
  everybody_ = {};
}

/// The session may go on to its next request at once, and we with it.
void LongPoll::finish(Response&& response) noexcept {
  end();
  std::exchange(then_, nullptr)->answered(std::move(response));
}

}  // namespace metatap::proxy
