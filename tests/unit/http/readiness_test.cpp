// SPDX-License-Identifier: Apache-2.0
#include "http/readiness.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "http/detached.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::http {
namespace {

/// Both ends of a connection, ours watched.
struct Pair {
  explicit Pair(boost::asio::io_context& context) : watch(Readiness::of(context)) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours = UniqueFd(ends[0]);
    theirs = UniqueFd(ends[1]);
    EXPECT_TRUE(watch.open(ours.get()));
  }
  void say(std::string_view text) const {
    EXPECT_EQ(::write(theirs.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] std::string heard() const {
    std::array<char, 256> text{};
    const ssize_t got = ::read(ours.get(), text.data(), text.size());
    return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
  }

  UniqueFd ours, theirs;
  Watch watch;
};

Detached when_readable(Watch& watch, std::function<void()> then) {
  co_await watch.readable();
  then();
}

struct Counting final : Watch::Alarm {
  void disturbed() override { ++times; }
  int times = 0;
};

class ReadinessTest : public ::testing::Test {
 protected:
  boost::asio::io_context context_{1};
};

TEST_F(ReadinessTest, WakesWhoWaits) {
  Pair pair(context_);
  std::string heard;
  when_readable(pair.watch, [&] { heard = pair.heard(); });
  EXPECT_EQ(heard, "");
  pair.say("hello");
  context_.run();  // and ends, as nobody waits any more
  EXPECT_EQ(heard, "hello");
}

TEST_F(ReadinessTest, KeepsAnEdgeThatNobodyWaitedFor) {
  Pair pair(context_), other(context_);
  bool other_woke = false, woke = false;
  when_readable(other.watch, [&] { other_woke = true; });
  pair.say("early");
  other.say("x");
  context_.run();
  EXPECT_TRUE(other_woke);
  when_readable(pair.watch, [&] { woke = true; });
  EXPECT_TRUE(woke);  // without a trip through the loop
}

TEST_F(ReadinessTest, TellsOfEachEdgeOnce) {
  Pair pair(context_);
  int woke = 0;
  pair.say("first");
  when_readable(pair.watch, [&] { ++woke; });
  context_.run();
  EXPECT_EQ(woke, 1);
  when_readable(pair.watch, [&] { ++woke; });  // nothing new: the rule is to read all at once
  context_.restart();
  EXPECT_EQ(context_.run_one_for(std::chrono::milliseconds(50)), 0U);
  EXPECT_EQ(woke, 1);
  pair.watch.cancel();
  context_.run();
  EXPECT_EQ(woke, 2);
}

TEST_F(ReadinessTest, ServesManyInOneTrip) {
  std::vector<std::unique_ptr<Pair>> pairs;
  int woke = 0;
  for (int i = 0; i < 200; ++i) {
    pairs.push_back(std::make_unique<Pair>(context_));
    when_readable(pairs.back()->watch, [&] { ++woke; });
    pairs.back()->say("x");
  }
  EXPECT_EQ(context_.run_one(), 1U);
  EXPECT_EQ(woke, 200);
}

TEST_F(ReadinessTest, TellsNobodyWhoWentInTheSameBatch) {
  auto first = std::make_unique<Pair>(context_);
  auto second = std::make_unique<Pair>(context_);
  int woke = 0;
  // Whichever comes first takes the other away, of which an event has been fetched already.
  when_readable(first->watch, [&] {
    ++woke;
    second.reset();
  });
  boost::asio::post(context_, [&] {
    first->say("x");
    second->say("x");
  });
  context_.run();
  EXPECT_EQ(woke, 1);
  EXPECT_EQ(second, nullptr);
}

TEST_F(ReadinessTest, WaitsForRoomToWrite) {
  Pair pair(context_);
  const std::string much(4096, 'x');
  while (::send(pair.ours.get(), much.data(), much.size(), MSG_NOSIGNAL) > 0) {
  }
  ASSERT_EQ(errno, EAGAIN);
  bool woke = false;
  [](Watch& watch, bool& done) -> Detached {
    co_await watch.writable();
    done = true;
  }(pair.watch, woke);
  EXPECT_EQ(context_.run_one_for(std::chrono::milliseconds(50)), 0U);
  std::array<char, 65536> sink{};
  while (::read(pair.theirs.get(), sink.data(), sink.size()) > 0) {
  }
  context_.run();
  EXPECT_TRUE(woke);
}

TEST_F(ReadinessTest, TheEndOfThePeerWakesTheReader) {
  Pair pair(context_);
  bool woke = false;
  when_readable(pair.watch, [&] { woke = true; });
  pair.theirs.reset();
  context_.run();
  EXPECT_TRUE(woke);
}

TEST_F(ReadinessTest, DestroysWhoStillWaitsAtTheEnd) {
  const auto token = std::make_shared<int>(1);
  {
    boost::asio::io_context context{1};
    [](boost::asio::io_context& its_context, std::shared_ptr<int>) -> Detached {
      Pair pair(its_context);
      co_await pair.watch.readable();
      ADD_FAILURE() << "nothing came";
    }(context, token);
    EXPECT_EQ(token.use_count(), 2);
  }
  EXPECT_EQ(token.use_count(), 1);
}

TEST_F(ReadinessTest, TellsARestingWatchOfWhatNobodyAskedFor) {
  Counting alarm;
  Pair pair(context_), quiet(context_), awake(context_);
  ASSERT_TRUE(pair.watch.rest(alarm));
  ASSERT_TRUE(quiet.watch.rest(alarm));
  ASSERT_TRUE(awake.watch.rest(alarm));
  awake.watch.end_rest();
  pair.say("x");
  awake.say("x");
  EXPECT_EQ(context_.run_one(), 1U);
  EXPECT_EQ(alarm.times, 1);
  EXPECT_FALSE(awake.watch.rest(alarm)) << "it has been seen already";
  awake.theirs.reset();
  EXPECT_FALSE(pair.watch.hung_up());
  context_.run_one();
  EXPECT_TRUE(awake.watch.hung_up());
  EXPECT_EQ(alarm.times, 1);
}

TEST_F(ReadinessTest, RaisesAlarmsBeforeAnybodyIsWoken) {
  Pair waiting(context_), resting(context_);
  Counting alarm;
  ASSERT_TRUE(resting.watch.rest(alarm));
  int raised = -1;
  when_readable(waiting.watch, [&] { raised = alarm.times; });
  waiting.say("a request");  // first in the batch
  resting.say("what nobody asked for");
  context_.run();
  EXPECT_EQ(raised, 1);
}

TEST_F(ReadinessTest, KnowsARestThatALookHasFoundSilent) {
  Pair waiting(context_), resting(context_), fresh(context_);
  Counting alarm;
  ASSERT_TRUE(resting.watch.rest(alarm));
  EXPECT_FALSE(resting.watch.looked_at_rest()) << "nobody has looked";
  std::vector<bool> known;
  const auto serve = [&]() -> Detached {
    co_await waiting.watch.readable();
    known = {resting.watch.looked_at_rest(), fresh.watch.rest(alarm), fresh.watch.looked_at_rest()};
    EXPECT_EQ(waiting.heard(), "once");
    waiting.say("again");
    co_await waiting.watch.readable();
    known.push_back(fresh.watch.looked_at_rest());
    resting.watch.end_rest();
    fresh.watch.end_rest();
  };
  waiting.say("once");
  serve();
  context_.run();
  EXPECT_EQ(known, (std::vector<bool>{true, true, false, true}));
  EXPECT_FALSE(fresh.watch.looked_at_rest()) << "the look was some time ago";
}

TEST_F(ReadinessTest, NobodyWaitsInAContextThatHasEnded) {
  struct AtTheEnd {
    std::function<void()> act;
    ~AtTheEnd() { act(); }
  };
  bool went_on = false;
  {
    boost::asio::io_context context{1};
    const auto wait_again = [&went_on](const std::shared_ptr<Pair>& pair) -> Detached {
      co_await pair->watch.readable();
      EXPECT_FALSE(pair->watch.is_open());
      went_on = true;
    };
    const auto first = std::make_shared<Pair>(context), second = std::make_shared<Pair>(context);
    [](std::shared_ptr<Pair> pair, std::function<void()> act) -> Detached {
      const AtTheEnd at_the_end{std::move(act)};
      co_await pair->watch.readable();
      ADD_FAILURE() << "nothing came";
    }(first, [wait_again, second] { wait_again(second); });
    EXPECT_FALSE(went_on);
  }
  EXPECT_TRUE(went_on);
}

TEST_F(ReadinessTest, AListenerWithCopiesIsForgotten) {
  Pair pair(context_), other(context_);
  const UniqueFd copy(::dup(other.ours.get()));
  Watch watch(Readiness::of(context_));
  ASSERT_TRUE(watch.open(copy.get(), Watch::Trigger::level));
  watch.close();
  // Its file is still open; an event for the watch that went would find nobody.
  other.say("x");
  bool woke = false;
  when_readable(pair.watch, [&] { woke = true; });
  pair.say("x");
  context_.run();
  EXPECT_TRUE(woke);
}

}  // namespace
}  // namespace metatap::http
