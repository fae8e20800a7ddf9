// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace metatap::dataplane {

/// How an item's turn ended.
struct Turn {
  bool comes_again = false;  ///< by itself, after a pause which doubles each time
  std::string problem;       ///< what could not be done, for whoever waits for it

  static Turn done() { return {}; }
  /// Not yet, and nothing is wrong.
  static Turn again() { return {true, {}}; }
  static Turn failed(std::string problem) { return {true, std::move(problem)}; }
};

/// Work that is waiting, as keys: what a key stands for is looked at when its turn comes, so a key
/// that is added ten times has one turn. One item has one turn of the io_context, and then whatever
/// else waits there comes first: a thousand items never hold up the control thread. Each kind of
/// work has its lane, and lanes take turns, so few items of one need not wait for many of another.
///
/// All on the thread of the io_context, which outlives this.
template <class Clock>
class BasicWorkQueue {
 public:
  class Lane;
  struct Progress {
    std::size_t done = 0;   ///< turns since the queue was last idle
    std::size_t ready = 0;  ///< items that wait for their turn
  };
  /// Called before each turn, and with `ready` 0 when the last one is over.
  using Observer = std::function<void(const Progress&)>;

  explicit BasicWorkQueue(boost::asio::io_context& control) : control_(control), timer_(control) {}
  BasicWorkQueue(const BasicWorkQueue&) = delete;
  BasicWorkQueue& operator=(const BasicWorkQueue&) = delete;

  void observe(Observer observer) { observers_.push_back(std::move(observer)); }

  /// Nothing waits for its turn. Items that failed and pause do not count.
  [[nodiscard]] bool idle() const { return ready_ == 0 && turn_ticket_ == 0; }
  [[nodiscard]] Progress progress() const { return {done_, ready_}; }

  /// The problems of the turns that were waited for.
  using Done = std::function<void(std::vector<std::string> problems)>;
  /// Calls back once everything that waits now has had its turn, whatever is added meanwhile; at
  /// once where nothing waits. An item that failed has had its turn.
  void when_done(Done callback) {
    if (idle()) {
      callback({});
    } else {
      barriers_.push_back({last_ticket_, std::move(callback), {}});
    }
  }

 private:
  using Time = typename Clock::time_point;

  void post_turn();
  Lane* next_lane();
  void turn(Lane& lane);
  void settle();
  void tell();
  void wait_for_pauses();

  boost::asio::io_context& control_;
  boost::asio::basic_waitable_timer<Clock> timer_;
  std::vector<Observer> observers_;
  std::vector<Lane*> lanes_;
  std::size_t next_lane_ = 0;
  std::size_t ready_ = 0, done_ = 0;
  std::uint64_t last_ticket_ = 0;
  std::uint64_t turn_ticket_ = 0;  ///< of the item that has its turn; 0: none
  /// Who waits until all tickets up to that one are gone.
  struct Barrier {
    std::uint64_t ticket;
    Done done;
    std::vector<std::string> problems;
  };
  std::deque<Barrier> barriers_;  ///< in order
  std::set<std::tuple<Time, Lane*, std::string>> paused_;
  std::optional<Time> timer_set_for_;
  bool posted_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// One kind of work. Its items go with it; the queue outlives it.
template <class Clock>
class BasicWorkQueue<Clock>::Lane {
 public:
  using Work = std::function<Turn(const std::string& key)>;
  struct Backoff {
    typename Clock::duration first = std::chrono::milliseconds(1);
    typename Clock::duration most = std::chrono::seconds(30);
  };

  /// `work` must not destroy the lane.
  Lane(BasicWorkQueue& queue, Work work) : Lane(queue, std::move(work), Backoff{}) {}
  Lane(BasicWorkQueue& queue, Work work, Backoff backoff)
      : queue_(queue), work_(std::move(work)), backoff_(backoff) {
    queue_.lanes_.push_back(this);
  }
  ~Lane() {
    clear();
    std::erase(queue_.lanes_, this);
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// It will have a turn; one that pauses after a failure no longer does.
  void add(const std::string& key) {
    Item& item = items_[key];
    if (item.ticket != 0) {
      return;
    }
    end_pause(key, item);
    item.ticket = ++queue_.last_ticket_;
    order_.emplace_back(item.ticket, key);
    ++ready_;
    ++queue_.ready_;
    queue_.post_turn();
  }

  /// It has no turn any more, and its failures are forgotten.
  void remove(const std::string& key) {
    if (const auto found = items_.find(key); found != items_.end()) {
      forget(found);
      queue_.settle();
    }
  }
  void clear() {
    while (!items_.empty()) {
      forget(items_.begin());
    }
    order_.clear();
    queue_.settle();
  }

  /// All that waits has its turn now, nothing else of the thread in between: for the start, when
  /// the io_context does not run yet.
  void drain() {
    while (ready_ != 0) {
      queue_.turn(*this);
    }
  }

  [[nodiscard]] std::size_t ready() const { return ready_; }
  [[nodiscard]] bool waits(const std::string& key) const {
    const auto found = items_.find(key);
    return found != items_.end() && found->second.ticket != 0;
  }
  /// How many failed the last time.
  [[nodiscard]] std::size_t failing() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        items_, [](const auto& entry) { return entry.second.failures != 0; }));
  }
  /// How often in a row that one has failed.
  [[nodiscard]] unsigned failures(const std::string& key) const {
    const auto found = items_.find(key);
    return found == items_.end() ? 0 : found->second.failures;
  }

 private:
  friend class BasicWorkQueue;
  struct Item {
    std::uint64_t ticket = 0;  ///< of its coming turn; 0: none
    unsigned failures = 0;
    std::optional<Time> paused_until;
  };
  using Items = std::unordered_map<std::string, Item>;

  void end_pause(const std::string& key, Item& item) {
    if (item.paused_until) {
      queue_.paused_.erase({*item.paused_until, this, key});
      item.paused_until.reset();
    }
  }

  void forget(typename Items::iterator found) {
    end_pause(found->first, found->second);
    if (found->second.ticket != 0) {
      --ready_;
      --queue_.ready_;
    }
    items_.erase(found);
  }

  /// The oldest item that waits. Those that were removed are passed over.
  std::optional<std::uint64_t> front() {
    for (; !order_.empty(); order_.pop_front()) {
      const auto found = items_.find(order_.front().second);
      if (found != items_.end() && found->second.ticket == order_.front().first) {
        return order_.front().first;
      }
    }
    return std::nullopt;
  }

  /// What could not be done.
  std::string take_turn() {
    const auto key = std::move(order_.front().second);
    order_.pop_front();
    items_[key].ticket = 0;
    --ready_;
    --queue_.ready_;
    auto ended = work_(key);
    // It may have been added again, or removed.
    const auto found = items_.find(key);
    if (found == items_.end()) {
      return {};
    }
    Item& item = found->second;
    if (!ended.comes_again) {
      item.failures = 0;
      if (item.ticket == 0) {
        items_.erase(found);
      }
      return {};
    }
    ++item.failures;
    if (item.ticket == 0) {
      item.paused_until = Clock::now() + pause_after(item.failures);
      queue_.paused_.emplace(*item.paused_until, this, key);
      queue_.wait_for_pauses();
    }
    return std::move(ended.problem);
  }

  [[nodiscard]] typename Clock::duration pause_after(unsigned failures) const {
    auto pause = backoff_.first;
    for (unsigned i = 1; i < failures && pause < backoff_.most; ++i) {
      pause *= 2;
    }
    return std::min(pause, backoff_.most);
  }

  BasicWorkQueue& queue_;
  Work work_;
  Backoff backoff_;
  Items items_;  ///< those that wait for a turn, and those that failed
  std::deque<std::pair<std::uint64_t, std::string>> order_;  ///< tickets, rising
  std::size_t ready_ = 0;
};

template <class Clock>
void BasicWorkQueue<Clock>::post_turn() {
  if (posted_ || ready_ == 0) {
    return;
  }
  posted_ = true;
  boost::asio::post(control_, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) {
      return;
    }
    posted_ = false;
    if (Lane* lane = next_lane()) {
      turn(*lane);
    }
    post_turn();
  });
}

template <class Clock>
typename BasicWorkQueue<Clock>::Lane* BasicWorkQueue<Clock>::next_lane() {
  for (std::size_t tried = 0; tried < lanes_.size(); ++tried) {
    next_lane_ = (next_lane_ + 1) % lanes_.size();
    if (lanes_[next_lane_]->ready() != 0) {
      return lanes_[next_lane_];
    }
  }
  return nullptr;
}

template <class Clock>
void BasicWorkQueue<Clock>::turn(Lane& lane) {
  const auto ticket = lane.front();
  if (!ticket) {
    return;
  }
  tell();
  turn_ticket_ = *ticket;
  const auto problem = lane.take_turn();
  turn_ticket_ = 0;
  for (auto& barrier : barriers_) {
    if (!problem.empty() && barrier.ticket >= *ticket) {
      barrier.problems.push_back(problem);
    }
  }
  ++done_;
  settle();
}

/// After a turn, or when items were removed: tells those who wait for it.
template <class Clock>
void BasicWorkQueue<Clock>::settle() {
  if (turn_ticket_ != 0) {
    return;  // removed by the item that has its turn, which is not over
  }
  if (ready_ == 0 && done_ != 0) {
    tell();
    done_ = 0;
  }
  auto oldest = last_ticket_ + 1;
  for (Lane* lane : lanes_) {
    oldest = std::min(oldest, lane->front().value_or(oldest));
  }
  while (!barriers_.empty() && barriers_.front().ticket < oldest) {
    auto barrier = std::move(barriers_.front());
    barriers_.pop_front();
    barrier.done(std::move(barrier.problems));
  }
}

template <class Clock>
void BasicWorkQueue<Clock>::tell() {
  for (const auto& observer : observers_) {
    observer(progress());
  }
}

template <class Clock>
void BasicWorkQueue<Clock>::wait_for_pauses() {
  if (paused_.empty()) {
    return;
  }
  const auto next = std::get<0>(*paused_.begin());
  if (timer_set_for_ && *timer_set_for_ <= next) {
    return;
  }
  timer_set_for_ = next;
  timer_.expires_at(next);
  timer_.async_wait([this,
                     alive = std::weak_ptr<bool>(alive_)](const boost::system::error_code& error) {
    if (error || alive.expired()) {
      return;
    }
    timer_set_for_.reset();
    for (const auto now = Clock::now(); !paused_.empty() && std::get<0>(*paused_.begin()) <= now;) {
      const auto [until, lane, key] = *paused_.begin();
      lane->add(key);  // ends the pause
    }
    wait_for_pauses();
  });
}

using WorkQueue = BasicWorkQueue<std::chrono::steady_clock>;

}  // namespace metatap::dataplane
