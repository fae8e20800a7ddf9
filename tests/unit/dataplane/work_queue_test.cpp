// SPDX-License-Identifier: Apache-2.0
#include "dataplane/work_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace metatap::dataplane {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Stands still until a test moves it.
struct FakeClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<FakeClock>;
  static constexpr bool is_steady = true;
  static inline time_point current;
  static time_point now() { return current; }
};

}  // namespace
}  // namespace metatap::dataplane

/// The io_context asks for the time whenever it is polled, instead of sleeping.
template <>
struct boost::asio::wait_traits<metatap::dataplane::FakeClock> {
  using Clock = metatap::dataplane::FakeClock;
  static Clock::duration to_wait_duration(const Clock::duration&) { return {}; }
  static Clock::duration to_wait_duration(const Clock::time_point&) { return {}; }
};

namespace metatap::dataplane {
namespace {

class WorkQueueTest : public ::testing::Test {
 protected:
  using Queue = BasicWorkQueue<FakeClock>;

  Queue::Lane lane(const std::string& name) {
    return Queue::Lane(queue_, [this, name](const std::string& key) {
      turns_.push_back(name + key);
      if (during_) {
        during_(key);
      }
      return fails_.contains(key) ? Turn::failed(key) : Turn::done();
    });
  }
  /// Every handler that is ready, timers of the fake clock included.
  void poll() {
    for (int i = 0; i < 5; ++i) {
      control_.restart();
      control_.poll();
      std::this_thread::sleep_for(100us);  // the kernel's timer that wakes the poll: 1 ns
    }
  }
  void pass(FakeClock::duration time) {
    FakeClock::current += time;
    poll();
  }

  asio::io_context control_{1};
  Queue queue_{control_};
  std::vector<std::string> turns_;
  std::set<std::string> fails_;
  std::function<void(const std::string&)> during_;
};

TEST_F(WorkQueueTest, AKeyThatIsAddedTwiceHasOneTurn) {
  auto work = lane("");
  work.add("a");
  work.add("b");
  work.add("a");
  EXPECT_FALSE(queue_.idle());
  EXPECT_THAT(turns_, IsEmpty()) << "add() only takes note";
  poll();
  EXPECT_THAT(turns_, ElementsAre("a", "b"));
  EXPECT_TRUE(queue_.idle());
  work.add("a");
  poll();
  EXPECT_THAT(turns_, ElementsAre("a", "b", "a"));
}

TEST_F(WorkQueueTest, OthersOfTheThreadComeBetweenTwoTurns) {
  auto work = lane("");
  for (const auto* key : {"1", "2", "3"}) {
    work.add(key);
  }
  // A request that arrives now waits for one item, not for all.
  asio::post(control_, [&] {
    turns_.emplace_back("request");
    asio::post(control_, [&] { turns_.emplace_back("next"); });
  });
  poll();
  EXPECT_THAT(turns_, ElementsAre("1", "request", "2", "next", "3"));
}

TEST_F(WorkQueueTest, LanesTakeTurns) {
  auto many = lane("m"), few = lane("f");
  for (const auto* key : {"1", "2", "3"}) {
    many.add(key);
  }
  few.add("1");
  poll();
  EXPECT_THAT(turns_, ElementsAre("f1", "m1", "m2", "m3"));
}

TEST_F(WorkQueueTest, AnItemMayAskForAnotherTurn) {
  auto work = lane("");
  during_ = [&](const std::string& key) {
    if (turns_.size() == 1) {
      work.add(key);
    }
  };
  work.add("a");
  poll();
  EXPECT_THAT(turns_, ElementsAre("a", "a"));
}

TEST_F(WorkQueueTest, PausesDoubleAfterEachFailureUpToALimit) {
  fails_ = {"bad"};
  Queue::Lane work(queue_,
                   [this](const std::string& key) {
                     turns_.push_back(key);
                     return fails_.contains(key) ? Turn::failed(key) : Turn::done();
                   },
                   {10ms, 35ms});
  work.add("bad");
  poll();
  EXPECT_EQ(turns_.size(), 1U);
  EXPECT_EQ(work.failures("bad"), 1U);
  EXPECT_TRUE(queue_.idle()) << "one that pauses is not waited for";
  pass(9ms);
  EXPECT_EQ(turns_.size(), 1U);
  pass(1ms);
  EXPECT_EQ(turns_.size(), 2U);
  pass(19ms);
  EXPECT_EQ(turns_.size(), 2U);
  pass(1ms);
  EXPECT_EQ(turns_.size(), 3U);
  pass(34ms);
  EXPECT_EQ(turns_.size(), 3U);
  pass(1ms);
  EXPECT_EQ(turns_.size(), 4U) << "not 40 ms: at most 35";
  EXPECT_EQ(work.failures("bad"), 4U);
  EXPECT_EQ(work.failing(), 1U);

  fails_.clear();
  pass(35ms);
  EXPECT_EQ(turns_.size(), 5U);
  EXPECT_EQ(work.failures("bad"), 0U);
  EXPECT_EQ(work.failing(), 0U);
  pass(1h);
  EXPECT_EQ(turns_.size(), 5U);
}

TEST_F(WorkQueueTest, NewsEndAPause) {
  fails_ = {"bad"};
  auto work = lane("");
  work.add("bad");
  poll();
  work.add("bad");
  poll();
  EXPECT_EQ(turns_.size(), 2U);
  pass(1ms);
  EXPECT_EQ(turns_.size(), 2U) << "the first pause has ended with the news";
  pass(1ms);
  EXPECT_EQ(turns_.size(), 3U);
}

TEST_F(WorkQueueTest, TheShorterOfTwoPausesEndsFirst) {
  fails_ = {"old", "new"};
  auto work = lane("");
  work.add("old");
  poll();
  for (int i = 0; i < 5; ++i) {
    pass(1s);  // "old" pauses for longer and longer
  }
  turns_.clear();
  work.add("new");
  poll();
  pass(1ms);
  EXPECT_THAT(turns_, ElementsAre("new", "new"));
}

TEST_F(WorkQueueTest, RemovedItemsHaveNoTurn) {
  fails_ = {"bad"};
  auto work = lane("");
  work.add("bad");
  poll();
  work.add("a");
  work.add("b");
  work.remove("a");
  work.remove("bad");
  pass(1h);
  EXPECT_THAT(turns_, ElementsAre("bad", "b"));
  EXPECT_EQ(work.failures("bad"), 0U);
}

TEST_F(WorkQueueTest, SaysWhenWhatWaitsNowIsDone) {
  auto work = lane("");
  bool at_once = false, first = false, second = false;
  queue_.when_done([&](const auto&) { at_once = true; });
  EXPECT_TRUE(at_once);
  fails_ = {"a"};
  work.add("a");
  queue_.when_done([&](const auto&) { first = true; });
  during_ = [&](const std::string& key) {
    EXPECT_EQ(first, key == "b");
    if (key == "a") {
      work.add("b");  // later than the question
      queue_.when_done([&](const auto&) { second = true; });
      work.remove("nothing");
      EXPECT_FALSE(first) << "its turn is not over";
    }
  };
  poll();
  EXPECT_TRUE(first && second);
}

TEST_F(WorkQueueTest, SaysWhatFailedOfWhatWasWaitedFor) {
  auto work = lane("");
  std::vector<std::string> problems{"never called"};
  fails_ = {"earlier", "bad"};
  work.add("earlier");
  poll();
  fails_.insert("later");
  work.add("good");
  work.add("bad");
  queue_.when_done([&](auto its) { problems = std::move(its); });
  work.add("later");
  poll();
  EXPECT_THAT(turns_, ElementsAre("earlier", "good", "bad", "later"));
  EXPECT_THAT(problems, ElementsAre("bad"));
  queue_.when_done([&](auto its) { problems = std::move(its); });
  EXPECT_THAT(problems, IsEmpty()) << "what pauses is nobody's business now";
}

TEST_F(WorkQueueTest, RemovingTheLastOneIsDoneToo) {
  bool done = false;
  {
    auto work = lane(""), other = lane("");
    work.add("a");
    other.add("b");
    queue_.when_done([&](const auto&) { done = true; });
    work.remove("a");
    EXPECT_FALSE(done);
  }
  EXPECT_TRUE(done) << "their lanes are gone";
  poll();
  EXPECT_THAT(turns_, IsEmpty());
}

TEST_F(WorkQueueTest, DrainWorksWithoutTheLoop) {
  fails_ = {"bad"};
  auto work = lane("d"), other = lane("o");
  work.add("bad");
  work.add("a");
  other.add("a");
  work.drain();
  EXPECT_THAT(turns_, ElementsAre("dbad", "da"));
  EXPECT_FALSE(queue_.idle()) << "the other lane's waits for the loop";
  poll();
  EXPECT_THAT(turns_, ElementsAre("dbad", "da", "oa"));
}

TEST_F(WorkQueueTest, TellsOfItsProgress) {
  std::vector<std::pair<std::size_t, std::size_t>> seen;
  queue_.observe(
      [&](const Queue::Progress& progress) { seen.emplace_back(progress.done, progress.ready); });
  auto work = lane("");
  work.add("a");
  work.add("b");
  poll();
  using P = std::pair<std::size_t, std::size_t>;
  EXPECT_THAT(seen, ElementsAre(P(0, 2), P(1, 1), P(2, 0)));
  work.add("a");
  poll();
  EXPECT_EQ(seen.back(), P(1, 0)) << "counted from the last time that it was idle";
}

TEST_F(WorkQueueTest, OutlivesNothing) {
  {
    Queue queue(control_);
    Queue::Lane work(queue, [](const std::string&) { return Turn::again(); });
    work.add("a");
    poll();
    work.add("b");
  }
  pass(1h);  // neither its turn nor its pause finds it
}

}  // namespace
}  // namespace metatap::dataplane
