// SPDX-License-Identifier: Apache-2.0
#include "agent/shield.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/shield_cache.hpp"
#include "base/back_off.hpp"
#include "base/mailbox.hpp"
#include "http/response_writer.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using Kept = std::shared_ptr<const ShieldCache::Entry>;

constexpr std::size_t kMostInLine = 4096;
constexpr std::int64_t kLongestInLine = 30'000;  // milliseconds; whoever asked has given up by then

/// The API gave no answer of its own: who stands for it could not reach it, or got none in time.
bool is_outage(unsigned status) {
  return status >= 502 && status <= 504;
}

/// What has become of a question.
struct News {
  Kept kept;          ///< an answer to be made from this, for each one anew
  bool old = false;   ///< it stands in for one that did not come
  Response response;  ///< where there is none
};

}  // namespace

/// Those who wait on one context; used on its thread only. When the context ends they are told 503.
class Desk : public std::enable_shared_from_this<Desk> {
 public:
  explicit Desk(asio::io_context& here)
      : here_(here), mailbox_(std::make_shared<Mailbox>(here.get_executor())) {}

  /// `old` stands in once `patience` is over.
  void wait(const AnswerKey& key, Continuation& then, Kept old, std::chrono::milliseconds patience,
            const std::shared_ptr<Shield::State>& state);
  /// From any thread, for all who wait here for that.
  void tell(const AnswerKey& key, const News& news, const std::shared_ptr<Shield::State>& state) {
    mailbox_->post(
        [self = shared_from_this(), key, news, state] { self->answer(key, news, *state); });
  }
  [[nodiscard]] asio::io_context& here() { return here_; }
  [[nodiscard]] Mailbox& mailbox() { return *mailbox_; }
  void close();

 private:
  struct Party {
    std::vector<Promise> waiting;
    Kept old;
    std::unique_ptr<asio::steady_timer> patience;
  };
  void answer(const AnswerKey& key, const News& news, Shield::State& state);
  void lose_patience(const AnswerKey& key, Shield::State& state);

  asio::io_context& here_;
  const std::shared_ptr<Mailbox> mailbox_;
  std::unordered_map<AnswerKey, Party, AnswerKeyHash> parties_;
};

namespace {

/// The desks of one context, by the number of their shield.
class Desks : public asio::execution_context::service {
 public:
  using key_type = Desks;
  static asio::execution_context::id id;
  explicit Desks(asio::execution_context& context) : service(context) {}

  std::unordered_map<std::uint64_t, std::shared_ptr<Desk>> by_shield;

 private:
  void shutdown() override {
    for (const auto& [number, desk] : by_shield) {
      desk->close();
    }
  }
};
asio::execution_context::id Desks::id;

}  // namespace

/// A request that outlives whoever asked it first. Whatever becomes of it, the state hears an
/// answer.
class Question final : public Continuation {
 public:
  Question(std::shared_ptr<Shield::State> state, const Request& request, AnswerKey key,
           std::shared_ptr<Desk> desk);
  ~Question();
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  /// On the desk's thread.
  static void ask(std::unique_ptr<Question> question);
  [[nodiscard]] const std::shared_ptr<Desk>& desk() const { return desk_; }
  bool in_flight = false;  ///< counted as such

 private:
  void answered(Response&& response) noexcept override {
    const std::unique_ptr<Question> self(this);
    settle(std::move(response));
  }
  void settle(Response response) noexcept;

  std::shared_ptr<Shield::State> state_;  ///< null once it has heard
  const AnswerKey key_;
  const std::shared_ptr<Desk> desk_;
  const std::string target_;
  std::vector<std::pair<std::string, std::string>> texts_;
  std::vector<Header> headers_;
  const Peer peer_{.in_process = true, .address = {}};
  Request request_;
  std::int64_t since_;  ///< in line, then in flight
};

struct Shield::State : std::enable_shared_from_this<State> {
  State(Handler& its_api, const ShieldOptions& its_options, Clock its_clock)
      : api(its_api), options(its_options), clock(std::move(its_clock)), kept(options.most_bytes) {}

  struct Flight {
    std::vector<std::shared_ptr<Desk>> desks;  ///< where somebody waits for it
  };

  [[nodiscard]] std::shared_ptr<Desk> desk_at(asio::io_context& here) const {
    auto& desk = asio::use_service<Desks>(here).by_shield[number];
    if (!desk) {
      desk = std::make_shared<Desk>(here);
    }
    return desk;
  }
  /// For one who waits.
  [[nodiscard]] Response answer(const News& news);
  /// Asks, now or when it is its turn.
  void take_on(std::unique_ptr<Question> question);
  void heard(const AnswerKey& key, const Request& request, Response response, std::int64_t since,
             bool was_in_flight) noexcept;
  /// What `response` is to those who wait for it.
  [[nodiscard]] News take_note(const AnswerKey& key, const Request& request, Response response,
                               std::int64_t since, bool was_asked);
  [[nodiscard]] BackOff::Clock::time_point now() const {
    return BackOff::Clock::time_point(std::chrono::milliseconds(clock()));
  }
  [[nodiscard]] bool usable(const Kept& entry, std::int64_t now) const {
    return entry && entry->answer.outlasts() && now - entry->since <= options.stale.count();
  }

  Handler& api;
  const ShieldOptions options;
  const Clock clock;
  const std::uint64_t number = next_number++;
  static inline std::atomic<std::uint64_t> next_number = 1;

  std::mutex mutex;  ///< guards the rest
  ShieldCache kept;
  std::unordered_map<AnswerKey, Flight, AnswerKeyHash> flights;
  std::deque<std::unique_ptr<Question>> in_line;
  unsigned in_flight = 0;
  BackOff trouble;
  ShieldCounts<> counts;
};

// ---- Desk

void Desk::wait(const AnswerKey& key, Continuation& then, Kept old,
                std::chrono::milliseconds patience, const std::shared_ptr<Shield::State>& state) {
  Party& party = parties_[key];
  party.waiting.emplace_back(then);
  if (!old || party.patience) {
    return;
  }
  party.old = std::move(old);
  party.patience = std::make_unique<asio::steady_timer>(here_, patience);
  party.patience->async_wait(
      [self = shared_from_this(), key, state](const boost::system::error_code& error) {
        if (!error) {
          self->lose_patience(key, *state);
        }
      });
}

void Desk::answer(const AnswerKey& key, const News& news, Shield::State& state) {
  if (auto party = parties_.extract(key); !party.empty()) {
    for (Promise& one : party.mapped().waiting) {
      one.keep(state.answer(news));
    }
  }
}

void Desk::lose_patience(const AnswerKey& key, Shield::State& state) {
  // That they were just answered, and others wait now, is possible.
  if (const auto party = parties_.find(key); party != parties_.end() && party->second.old) {
    answer(key, {.kept = party->second.old, .old = true, .response = {}}, state);
  }
}

void Desk::close() {
  mailbox_->close();
  const auto told_by_their_end = std::exchange(parties_, {});
}

// ---- Question

Question::Question(std::shared_ptr<Shield::State> state, const Request& request, AnswerKey key,
                   std::shared_ptr<Desk> desk)
    : state_(std::move(state)),
      key_(std::move(key)),
      desk_(std::move(desk)),
      target_(request.target),
      since_(state_->clock()) {
  for (const Header& header : request.headers) {
    texts_.emplace_back(header.name, header.value);
  }
  for (const auto& [name, value] : texts_) {
    headers_.push_back({name, value});
  }
  request_ = {.method = "GET", .target = target_, .headers = headers_, .body = {}, .peer = &peer_};
}

Question::~Question() {
  if (state_) {
    settle(http::busy_response("too much is under way"));
  }
}

void Question::ask(std::unique_ptr<Question> question) {
  Question& one = *question;
  const auto now = one.state_->clock();
  if (now - one.since_ > kLongestInLine) {
    return;  // and its end says so
  }
  one.since_ = now;
  if (auto response = one.state_->api.ask(one.request_, one.desk_->here(), one)) {
    one.settle(std::move(*response));
  } else {
    static_cast<void>(question.release());  // it goes with its answer, or has gone
  }
}

void Question::settle(Response response) noexcept {
  const auto state = std::exchange(state_, nullptr);
  state->heard(key_, request_, std::move(response), since_, in_flight);
}

// ---- Shield

Response Shield::State::answer(const News& news) {
  if (!news.kept) {
    return news.response;
  }
  auto response = news.kept->answer.again();
  if (news.old) {
    const auto age = (clock() - news.kept->since) / 1000;
    const auto left = options.ttl.count() / 1000 - age;
    response.headers.emplace_back("Age", std::to_string(age));
    response.headers.emplace_back("Cache-Status", "metatap; hit; ttl=" + std::to_string(left));
    const std::lock_guard lock(mutex);
    ++counts.stood_in;
  }
  return response;
}

void Shield::State::take_on(std::unique_ptr<Question> question) {
  {
    const std::lock_guard lock(mutex);
    if (in_flight >= options.most_questions) {
      if (in_line.size() < kMostInLine) {
        in_line.push_back(std::move(question));
        return;
      }
    } else {
      ++in_flight;
      question->in_flight = true;
    }
  }
  if (question->in_flight) {
    Question::ask(std::move(question));
  }  // else its end answers
}

News Shield::State::take_note(const AnswerKey& key, const Request& request, Response response,
                              std::int64_t since, bool was_asked) {
  if (was_asked && is_outage(response.status)) {
    trouble.failed(now());
  } else if (was_asked) {
    trouble.succeeded();
  }
  if (auto answer = KeptAnswer::of(request, response)) {
    kept.put(key, *answer, since);
    return {.kept = std::make_shared<const ShieldCache::Entry>(key, std::move(*answer), since),
            .response = {}};
  }
  if (response.status >= 500 || response.status == 429) {
    if (auto old = kept.find(key); usable(old, clock())) {
      return {.kept = std::move(old), .old = true, .response = {}};
    }
  } else {
    kept.erase(key);
  }
  return {.kept = nullptr, .response = std::move(response)};
}

void Shield::State::heard(const AnswerKey& key, const Request& request, Response response,
                          std::int64_t since, bool was_in_flight) noexcept {
  std::vector<std::shared_ptr<Desk>> desks;
  std::unique_ptr<Question> next;
  News news;
  {
    const std::lock_guard lock(mutex);
    news = take_note(key, request, std::move(response), since, was_in_flight);
    if (auto flight = flights.extract(key); !flight.empty()) {
      desks = std::move(flight.mapped().desks);
    }
    if (was_in_flight) {
      --in_flight;
      if (!in_line.empty()) {
        next = std::move(in_line.front());
        in_line.pop_front();
        next->in_flight = true;
        ++in_flight;
      }
    }
  }
  for (const auto& desk : desks) {
    desk->tell(key, news, shared_from_this());
  }
  if (next) {
    auto& mailbox = next->desk()->mailbox();
    mailbox.post([question = std::move(next)]() mutable { Question::ask(std::move(question)); });
  }
}

Shield::Shield(Handler& api, const ShieldOptions& options, Clock clock)
    : state_(std::make_shared<State>(api, options, std::move(clock))) {}

Shield::~Shield() {
  std::deque<std::unique_ptr<Question>> in_line;  // their ends take the lock
  {
    const std::lock_guard lock(state_->mutex);
    in_line.swap(state_->in_line);
  }
}

ShieldCounts<> Shield::counters() const {
  const std::lock_guard lock(state_->mutex);
  auto counts = state_->counts;
  counts.kept = state_->kept.size();
  counts.kept_bytes = state_->kept.bytes();
  return counts;
}

std::optional<Response> Shield::handle(const Request& request, asio::io_context& here,
                                       Continuation& then) {
  if (!KeptAnswer::may_be(request)) {
    return state_->api.ask(request, here, then);
  }
  const auto desk = state_->desk_at(here);
  auto key = AnswerKey::of(request);
  News news;
  bool first = false;
  {
    const std::lock_guard lock(state_->mutex);
    auto old = state_->kept.find(key);
    const auto now = state_->clock();
    if (old && now - old->since < state_->options.ttl.count()) {
      ++state_->counts.remembered;
      return old->answer.again();
    }
    const bool usable = state_->usable(old, now);
    news = {.kept = usable ? std::move(old) : nullptr, .old = usable, .response = {}};
    if (!usable || state_->trouble.may_try(state_->now())) {
      auto& desks = state_->flights[key].desks;
      first = desks.empty();
      ++(first ? state_->counts.asked : state_->counts.joined);
      if (std::ranges::find(desks, desk) == desks.end()) {
        desks.push_back(desk);
      }
      desk->wait(key, then, news.kept, state_->options.patience, state_);
      news = {};
    }
  }
  if (news.kept) {
    return state_->answer(news);
  }
  if (first) {
    state_->take_on(std::make_unique<Question>(state_, request, std::move(key), desk));
  }
  return std::nullopt;
}

}  // namespace metatap::agent
