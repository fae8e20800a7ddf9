// SPDX-License-Identifier: Apache-2.0
#include "http/names.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using testing::ElementsAre;

/// Name servers of which some do not answer.
class NamesTest : public testing::Test {
 protected:
  NamesTest() {
    names_.use([this](const std::string& host) -> Result<Names::Addresses> {
      std::unique_lock lock(mutex_);
      ++asked_;
      changed_.wait(lock, [&] { return !hung_.contains(host); });
      if (host == "none") {
        return fail(ErrorCode::unavailable, "none: no such name");
      }
      return Names::Addresses{asio::ip::make_address("192.0.2.1")};
    });
  }
  ~NamesTest() override { answer_all(); }
  void hang(const std::string& host) {
    const std::lock_guard lock(mutex_);
    hung_.insert(host);
  }
  void answer_all() {
    const std::lock_guard lock(mutex_);
    hung_.clear();
    changed_.notify_all();
  }
  int asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::shared_ptr<std::optional<Result<Names::Addresses>>> begin(const std::string& host,
                                                                 std::chrono::milliseconds limit) {
    auto found = std::make_shared<std::optional<Result<Names::Addresses>>>();
    asio::co_spawn(context_, names_.find(host, limit),
                   [found](std::exception_ptr, Result<Names::Addresses> result) {
                     *found = std::move(result);
                   });
    return found;
  }
  Result<Names::Addresses> find(const std::string& host, std::chrono::milliseconds limit = 20s) {
    const auto found = begin(host, limit);
    context_.restart();
    while (!*found && context_.run_one() > 0) {
    }
    return **found;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<std::string> hung_;
  int asked_ = 0;
  asio::io_context context_;
  Names& names_ = Names::of(context_);
};

TEST_F(NamesTest, OneNameThatHangsHoldsUpNoOther) {
  hang("slow");
  const auto slow = begin("slow", 20s);
  EXPECT_TRUE(find("quick"));
  EXPECT_FALSE(*slow);
  const auto late = find("slow", 50ms);  // his own limit, also where another waits for it
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::timeout);
  EXPECT_FALSE(*slow);
  answer_all();
  context_.restart();
  while (!*slow && context_.run_one() > 0) {
  }
  EXPECT_TRUE(**slow);
}

TEST_F(NamesTest, IsAskedOnceForAllWhoAsk) {
  hang("name");
  const auto one = begin("name", 20s), two = begin("name", 20s);
  context_.run_for(20ms);
  answer_all();
  EXPECT_THAT(find("name").value(), ElementsAre(asio::ip::make_address("192.0.2.1")));
  EXPECT_TRUE(*one && *two && **one && **two);
  EXPECT_TRUE(find("name"));
  EXPECT_EQ(asked(), 1);
}

TEST_F(NamesTest, SaysWhyAndDoesNotAskAgainAtOnce) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto found = find("none");
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().message, "none: no such name");
  }
  EXPECT_EQ(asked(), 1);
}

TEST_F(NamesTest, AThreadThatComesTooLateFindsNobody) {
  std::promise<void> answer;
  std::weak_ptr<int> thread;  // there as long as it runs
  {
    asio::io_context gone;
    Names& names = Names::of(gone);
    const auto running = std::make_shared<int>();
    thread = running;
    names.use([running, answered = answer.get_future().share()](const std::string&) {
      answered.wait();
      return Result<Names::Addresses>(Names::Addresses{});
    });
    asio::co_spawn(gone, names.find("name", 20s), [](std::exception_ptr, const auto&) {});
    gone.run_for(20ms);
  }
  ASSERT_FALSE(thread.expired());
  answer.set_value();
  for (int tries = 0; !thread.expired() && tries < 10'000; ++tries) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_TRUE(thread.expired());
  EXPECT_TRUE(find("other"));
}

}  // namespace
}  // namespace metatap::http
