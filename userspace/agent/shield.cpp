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

#include "agent/boot_paths.hpp"
#include "agent/shield_cache.hpp"
#include "base/back_off.hpp"
#include "base/mailbox.hpp"
#include "http/response_writer.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using Kept = std::shared_ptr<const ShieldCache::Entry>;

constexpr std::size_t kMostInLine = 4096;
constexpr std::size_t kMostMet = 4096;
constexpr std::int64_t kMeetAgain = 60'000;      // milliseconds
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
  /// `target`: in the request's place.
  Question(std::shared_ptr<Shield::State> state, const Request& request, std::string_view target,
           AnswerKey key, std::shared_ptr<Desk> desk);
  ~Question();
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  /// On the desk's thread.
  static void ask(std::unique_ptr<Question> question);
  [[nodiscard]] const std::shared_ptr<Desk>& desk() const { return desk_; }
  [[nodiscard]] const AnswerKey& key() const { return key_; }
  bool in_flight = false;  ///< counted as such
  bool probe = false;      ///< there is an old answer: only when the API may be asked again
  bool ahead = false;      ///< nobody waits for it; so counted, if it is in flight

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
  void heard(const Question& question, const Request& request, Response response,
             std::int64_t since) noexcept;
  // The next four with the lock held.
  /// What else the instance will want to know, if a boot begins and nothing is kept of it; each of
  /// these is a flight from now on.
  [[nodiscard]] std::vector<std::unique_ptr<Question>> all_of_boot(
      const Request& request, const AnswerKey& key, const std::shared_ptr<Desk>& desk);
  /// Somebody waits for it now: it has its turn like others.
  void no_longer_ahead(const AnswerKey& key);
  [[nodiscard]] bool has_room(const Question& question) const {
    return in_flight < options.most_questions &&
           (!question.ahead || ahead_in_flight < std::max(1U, options.most_questions / 2));
  }
  void depart(Question& question) {
    question.in_flight = true;
    ++in_flight;
    ahead_in_flight += question.ahead ? 1 : 0;
  }
  /// What `response` is to those who wait for it.
  [[nodiscard]] News take_note(const AnswerKey& key, const Request& request, Response response,
                               std::int64_t since);
  void note_health(const Question& question, unsigned status);
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
  std::deque<std::unique_ptr<Question>> ahead_in_line;  ///< when nobody is in the other one
  std::unordered_map<std::string, std::int64_t> met;    ///< instances, when all was asked for them
  unsigned in_flight = 0, ahead_in_flight = 0;
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

Question::Question(std::shared_ptr<Shield::State> state, const Request& request,
                   std::string_view target, AnswerKey key, std::shared_ptr<Desk> desk)
    : state_(std::move(state)),
      key_(std::move(key)),
      desk_(std::move(desk)),
      target_(target),
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
  state->heard(*this, request_, std::move(response), since_);
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
    if (has_room(*question)) {
      depart(*question);
    } else if (auto& line = question->ahead ? ahead_in_line : in_line; line.size() < kMostInLine) {
      line.push_back(std::move(question));
      return;
    }
  }
  if (question->in_flight) {
    Question::ask(std::move(question));
  }  // else its end answers
}

/// When to ask again. A pause grows by what was asked at its end, and not by all that had to be
/// asked meanwhile; and nobody has missed what was to be there ahead.
void Shield::State::note_health(const Question& question, unsigned status) {
  if (!question.in_flight) {
    return;
  }
  if (!is_outage(status)) {
    trouble.succeeded();
  } else if (question.probe || (!question.ahead && !trouble.resting(now()))) {
    trouble.failed(now());
  }
}

News Shield::State::take_note(const AnswerKey& key, const Request& request, Response response,
                              std::int64_t since) {
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

std::vector<std::unique_ptr<Question>> Shield::State::all_of_boot(
    const Request& request, const AnswerKey& key, const std::shared_ptr<Desk>& desk) {
  std::vector<std::unique_ptr<Question>> questions;
  const auto now = clock();
  if (!options.ahead || request.target != kBootPaths.front() || kept.knows(key.instance)) {
    return questions;
  }
  // One of which the API says nothing good is not asked for over and over.
  const auto is_old = [now](const auto& one) { return now - one.second >= kMeetAgain; };
  if (met.size() >= kMostMet) {
    std::erase_if(met, is_old);
  }
  const auto [before, is_new] = met.try_emplace(key.instance, now);
  if (met.size() > kMostMet || (!is_new && !is_old(*before))) {
    return questions;
  }
  before->second = now;
  for (const auto path : kBootPaths) {
    Request like = request;
    like.target = path;
    auto its_key = AnswerKey::of(like);
    if (flights.try_emplace(its_key).second) {
      questions.push_back(
          std::make_unique<Question>(shared_from_this(), request, path, std::move(its_key), desk));
      questions.back()->ahead = true;
    }
  }
  counts.asked += questions.size();
  return questions;
}

void Shield::State::no_longer_ahead(const AnswerKey& key) {
  const auto found =
      std::ranges::find_if(ahead_in_line, [&key](const auto& one) { return one->key() == key; });
  if (found != ahead_in_line.end()) {
    (*found)->ahead = false;
    in_line.push_back(std::move(*found));
    ahead_in_line.erase(found);
  }
}

void Shield::State::heard(const Question& question, const Request& request, Response response,
                          std::int64_t since) noexcept {
  const AnswerKey& key = question.key();
  std::vector<std::shared_ptr<Desk>> desks;
  std::unique_ptr<Question> next;
  std::deque<std::unique_ptr<Question>> given_up;  // their ends take the lock
  News news;
  {
    const std::lock_guard lock(mutex);
    note_health(question, response.status);
    if (question.ahead && question.in_flight && is_outage(response.status)) {
      given_up.swap(ahead_in_line);
    }
    news = take_note(key, request, std::move(response), since);
    if (auto flight = flights.extract(key); !flight.empty()) {
      desks = std::move(flight.mapped().desks);
    }
    if (question.in_flight) {
      --in_flight;
      ahead_in_flight -= question.ahead ? 1 : 0;
      auto& line = in_line.empty() ? ahead_in_line : in_line;
      if (!line.empty() && has_room(*line.front())) {
        next = std::move(line.front());
        line.pop_front();
        depart(*next);
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
  std::deque<std::unique_ptr<Question>> in_line, ahead_in_line;  // their ends take the lock
  {
    const std::lock_guard lock(state_->mutex);
    in_line.swap(state_->in_line);
    ahead_in_line.swap(state_->ahead_in_line);
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
  bool first = false, probe = false;
  std::vector<std::unique_ptr<Question>> ahead;
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
      probe = usable;
      const auto [flight, departs] = state_->flights.try_emplace(key);
      auto& desks = flight->second.desks;
      first = departs;
      if (first) {
        ahead = state_->all_of_boot(request, key, desk);
      } else {
        state_->no_longer_ahead(key);
      }
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
    auto question =
        std::make_unique<Question>(state_, request, request.target, std::move(key), desk);
    question->probe = probe;
    state_->take_on(std::move(question));
  }
  for (auto& question : ahead) {
    state_->take_on(std::move(question));
  }
  return std::nullopt;
}

}  // namespace metatap::agent
