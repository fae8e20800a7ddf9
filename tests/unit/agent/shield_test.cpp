// SPDX-License-Identifier: Apache-2.0
#include "agent/shield.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <set>

#include "agent/boot_paths.hpp"
#include "agent/kept_answer.hpp"
#include "agent/shield_cache.hpp"
#include "unit/agent/support.hpp"

namespace metatap::agent {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing_support::RecordingApi;
using namespace std::chrono_literals;

constexpr std::string_view kMetaData = "/openstack/latest/meta_data.json";

std::string header_of(const Response& response, std::string_view name) {
  for (const auto& [its_name, value] : response.headers) {
    if (its_name == name) {
      return value;
    }
  }
  return "";
}

/// One who asks, and what came of it.
class Asker final : public Continuation {
 public:
  Asker(Handler& shield, boost::asio::io_context& here, std::string target = "/latest/user-data",
        std::string instance = "i1", std::string method = "GET", std::string project = "p1",
        std::string address = "10.0.0.1")
      : texts_{std::move(address), std::move(instance), std::move(project), std::move(target),
               std::move(method)},
        headers_{Header{"X-Forwarded-For", texts_[0]}, Header{"X-Instance-ID", texts_[1]},
                 Header{"X-Tenant-ID", texts_[2]}, Header{"X-Instance-ID-Signature", "signed"}},
        request_{.method = texts_[4],
                 .target = texts_[3],
                 .headers = headers_,
                 .body = {},
                 .peer = &peer_} {
    if (auto response = shield.ask(request_, here, *this)) {
      answered(std::move(*response));
    }
  }
  void answered(Response&& response) noexcept override {
    EXPECT_FALSE(answer) << "answered twice";
    answer = std::move(response);
  }
  [[nodiscard]] unsigned status() const { return answer ? answer->status : 0; }
  [[nodiscard]] std::string body() const { return answer ? answer->body.str() : "no answer"; }

  std::optional<Response> answer;

 private:
  const std::array<std::string, 5> texts_;
  const std::array<Header, 4> headers_;
  const Peer peer_{.in_process = true, .address = {}};
  const Request request_;
};

class ShieldTest : public testing::Test {
 protected:
  ShieldTest() {
    options_.most_questions = 2;
    options_.ahead = false;
    api_.respond = [this](const RecordingApi::Seen& seen) {
      Response response;
      response.status = status_;
      response.content_type = "text/plain";
      response.body =
          Body(body_.empty() ? seen.target + " " + std::to_string(api_.seen.size()) : body_);
      return response;
    };
  }
  /// Runs what is to be run now.
  void settle() {
    for (auto& here : contexts_) {
      here->restart();
      here->poll();
    }
  }
  /// The API answers all that it was asked.
  void answer() {
    for (const auto& one : std::exchange(api_.waiting, {})) {
      one();
    }
    settle();
  }
  [[nodiscard]] std::unique_ptr<Shield> shield() {
    return std::make_unique<Shield>(api_, options_, [this] { return now_; });
  }
  boost::asio::io_context& here(std::size_t number = 0) { return *contexts_[number]; }

  ShieldOptions options_;
  unsigned status_ = 200;
  std::string body_;
  std::int64_t now_ = 1'000'000;
  RecordingApi api_;
  std::vector<std::unique_ptr<boost::asio::io_context>> contexts_ = [] {
    std::vector<std::unique_ptr<boost::asio::io_context>> two;
    two.push_back(std::make_unique<boost::asio::io_context>(1));
    two.push_back(std::make_unique<boost::asio::io_context>(1));
    return two;
  }();
};

TEST_F(ShieldTest, AsksOnceForAllWhoAskTheSame) {
  api_.at_once = false;
  const auto shield = this->shield();
  const Asker first(*shield, here()), second(*shield, here()), elsewhere(*shield, here(1));
  EXPECT_EQ(api_.waiting.size(), 1U);
  answer();
  EXPECT_EQ(api_.seen.size(), 1U);
  for (const auto* one : {&first, &second, &elsewhere}) {
    EXPECT_EQ(one->status(), 200U);
    EXPECT_EQ(one->body(), first.body());
  }
  EXPECT_EQ(shield->counters().joined, 2U);
}

TEST_F(ShieldTest, NeverGivesOneTheAnswerOfAnother) {
  const auto shield = this->shield();
  const Asker one(*shield, here()), other(*shield, here(), "/latest/user-data", "i2"),
      project(*shield, here(), "/latest/user-data", "i1", "GET", "p2"),
      address(*shield, here(), "/latest/user-data", "i1", "GET", "p1", "10.0.0.2"),
      target(*shield, here(), "/latest/meta-data/");
  settle();
  EXPECT_EQ(api_.seen.size(), 5U);
  EXPECT_NE(one.body(), other.body());
}

TEST_F(ShieldTest, TheFirstQuestionOfAnInstanceIsFollowedByAllThatABootAsks) {
  options_.ahead = true;
  const auto shield = this->shield();
  const Asker knock(*shield, here(), "/openstack");
  settle();
  std::set<std::string> asked;
  for (const auto& seen : api_.seen) {
    EXPECT_TRUE(asked.insert(seen.target).second) << seen.target << " twice";
    EXPECT_THAT(seen.headers, testing::Contains(testing::Pair("X-Instance-ID", "i1")));
  }
  EXPECT_EQ(asked, std::set<std::string>(kBootPaths.begin(), kBootPaths.end()));
  for (const auto path : kBootPaths) {
    EXPECT_EQ(Asker(*shield, here(), std::string(path)).status(), 200U);
  }
  EXPECT_EQ(api_.seen.size(), kBootPaths.size());
  EXPECT_EQ(asked.count("/openstack/2018-08-27/vendor_data2.json"), 0U);
}

TEST_F(ShieldTest, AGuestThatRunsIsNoReasonToFetchAhead) {
  options_.ahead = true;
  const auto shield = this->shield();
  const Asker one(*shield, here(), "/latest/meta-data/instance-id");
  settle();
  EXPECT_EQ(api_.seen.size(), 1U);
}

TEST_F(ShieldTest, WhatIsFetchedAheadKeepsNobodyWaiting) {
  options_.ahead = true;
  api_.at_once = false;
  const auto shield = this->shield();
  const Asker knock(*shield, here(), "/openstack");
  EXPECT_EQ(api_.waiting.size(), 2U);  // its own, and one ahead
  const Asker other(*shield, here(), "/latest/user-data", "i2");
  const Asker joined(*shield, here(), "/latest/meta-data/security-groups");
  answer();
  answer();
  // Those for whom somebody waits have come before the rest.
  ASSERT_EQ(api_.seen.size(), 4U);
  EXPECT_EQ(api_.seen[2].target, "/latest/user-data");
  EXPECT_EQ(api_.seen[3].target, "/latest/meta-data/security-groups");
  EXPECT_EQ(other.status(), 200U);
  EXPECT_EQ(joined.status(), 200U);
  for (int i = 0; i < 100 && !api_.waiting.empty(); ++i) {
    EXPECT_LE(api_.waiting.size(), 2U);
    answer();
  }
  EXPECT_TRUE(api_.waiting.empty());
}

TEST_F(ShieldTest, AnInstanceThatTheApiDoesNotKnowIsNotAskedForOverAndOver) {
  options_.ahead = true;
  status_ = 404;
  const auto shield = this->shield();
  for (int i = 0; i < 5; ++i) {
    const Asker one(*shield, here(), "/openstack");
    settle();
  }
  EXPECT_EQ(api_.seen.size(), kBootPaths.size() + 4);
  now_ += 60'000;
  const Asker later(*shield, here(), "/openstack");
  settle();
  EXPECT_EQ(api_.seen.size(), 2 * kBootPaths.size() + 4);
}

TEST_F(ShieldTest, AnOutageEndsWhatIsFetchedAheadAndNothingElse) {
  options_.ahead = true;
  api_.at_once = false;
  const auto shield = this->shield();
  const Asker knock(*shield, here(), "/openstack");
  answer();  // its own, and one ahead
  status_ = 503;
  answer();
  for (int i = 0; i < 100 && !api_.waiting.empty(); ++i) {
    answer();
  }
  EXPECT_LE(api_.seen.size(), 5U);
  status_ = 200;
  api_.at_once = true;
  const Asker later(*shield, here(), "/latest/user-data", "i2");
  settle();
  EXPECT_EQ(later.status(), 200U);  // is asked at once: nobody has seen the API fail
}

TEST_F(ShieldTest, ManyWhoHadToAskMakeAPauseNoLonger) {
  options_.ttl = 0ms;
  const auto shield = this->shield();
  const Asker known(*shield, here());
  settle();
  status_ = 503;
  for (int i = 0; i < 30; ++i) {
    const Asker stranger(*shield, here(), "/latest/user-data", "i" + std::to_string(10 + i));
    settle();
  }
  status_ = 200;
  now_ += 1001;
  const Asker again(*shield, here());
  settle();
  EXPECT_EQ(again.status(), 200U);
  EXPECT_EQ(header_of(*again.answer, "Age"), "") << "the API was asked";
}

TEST_F(ShieldTest, AnEndWithQuestionsAheadInLineIsAnEnd) {
  options_.ahead = true;
  api_.at_once = false;
  auto shield = this->shield();
  const Asker knock(*shield, here(), "/openstack");
  shield.reset();
  answer();
  EXPECT_EQ(knock.status(), 200U);
}

TEST_F(ShieldTest, GivesAnAnswerAgainForItsTime) {
  const auto shield = this->shield();
  const Asker first(*shield, here());
  settle();
  now_ += 14'999;
  const Asker again(*shield, here(1));
  EXPECT_EQ(again.body(), first.body());
  EXPECT_TRUE(again.answer->headers.empty()) << "it is as good as Nova's own";
  EXPECT_EQ(again.answer->content_type, "text/plain");
  now_ += 1;
  const Asker later(*shield, here());
  settle();
  EXPECT_EQ(api_.seen.size(), 2U);
  EXPECT_NE(later.body(), first.body());
}

TEST_F(ShieldTest, MakesTheSeedAnewForEach) {
  body_ = R"({"meta": {"random_seed": "theirs"}, "random_seed": "AAAA", "uuid": "i1"})";
  api_.at_once = false;
  const auto shield = this->shield();
  const Asker one(*shield, here(), std::string(kMetaData)),
      two(*shield, here(), std::string(kMetaData));
  answer();
  const Asker three(*shield, here(), std::string(kMetaData));
  EXPECT_NE(one.body(), two.body());
  EXPECT_NE(one.body(), three.body());
  for (const auto* each : {&one, &two, &three}) {
    const auto seed = text_member(each->body(), "random_seed");
    ASSERT_TRUE(seed);
    EXPECT_EQ(seed->length, 684U);
    EXPECT_THAT(each->body(), HasSubstr(R"({"random_seed": "theirs"})"));
    EXPECT_THAT(each->body(), HasSubstr(R"(", "uuid": "i1"})"));
  }
}

TEST_F(ShieldTest, LetsPassWhatMustNotBeKept) {
  const auto shield = this->shield();
  const std::vector<std::pair<std::string, std::string>> asked{
      {"GET", "/openstack/latest/password"},  {"GET", "/openstack/latest/password/"},
      {"POST", "/openstack/latest/password"}, {"HEAD", "/latest/user-data"},
      {"GET", "/latest/user-data?1"},         {"GET", "/latest/user%2Ddata"}};
  for (const auto& [method, target] : asked) {
    const Asker first(*shield, here(), target, "i1", method),
        second(*shield, here(), target, "i1", method);
    EXPECT_NE(first.body(), second.body()) << method << ' ' << target;
  }
  EXPECT_EQ(api_.seen.size(), 2 * asked.size());
  EXPECT_EQ(shield->counters().kept, 0U);
}

TEST_F(ShieldTest, TheLastGoodAnswerStandsIn) {
  const auto shield = this->shield();
  const Asker good(*shield, here());
  settle();
  for (const unsigned status : {500U, 502U, 503U, 504U, 429U}) {
    now_ += 100'000;
    status_ = status;
    const Asker guest(*shield, here());
    settle();
    EXPECT_EQ(guest.status(), 200U) << status;
    EXPECT_EQ(guest.body(), good.body());
  }
  const Asker guest(*shield, here());
  settle();
  EXPECT_EQ(header_of(*guest.answer, "Age"), "500");
  EXPECT_EQ(header_of(*guest.answer, "Cache-Status"), "metatap; hit; ttl=-485");
  now_ += options_.stale.count();
  const Asker too_late(*shield, here());
  settle();
  EXPECT_EQ(too_late.status(), 429U);
}

TEST_F(ShieldTest, AnAdministratorsPasswordIsNotKeptForAnOutage) {
  body_ = R"({"admin_pass": "secret", "uuid": "i1"})";
  const auto shield = this->shield();
  const Asker good(*shield, here(), std::string(kMetaData));
  settle();
  now_ += 100'000;
  status_ = 503;
  const Asker guest(*shield, here(), std::string(kMetaData));
  settle();
  EXPECT_EQ(guest.status(), 503U);
}

TEST_F(ShieldTest, WhatIsGoneIsForgotten) {
  const auto shield = this->shield();
  const Asker good(*shield, here());
  settle();
  now_ += 100'000;
  status_ = 404;
  const Asker gone(*shield, here());
  settle();
  EXPECT_EQ(gone.status(), 404U);
  status_ = 503;
  const Asker guest(*shield, here());
  settle();
  EXPECT_EQ(guest.status(), 503U);
}

TEST_F(ShieldTest, ASlowApiIsNotWaitedFor) {
  options_.patience = 20ms;
  const auto shield = this->shield();
  const Asker good(*shield, here());
  settle();
  now_ += 100'000;
  api_.at_once = false;
  const Asker guest(*shield, here());
  here().restart();
  here().run_for(5s);  // ends when nobody waits any more
  EXPECT_EQ(guest.body(), good.body());
  EXPECT_EQ(header_of(*guest.answer, "Age"), "100");
  answer();  // late, and for later
  const Asker next(*shield, here());
  EXPECT_NE(next.body(), good.body());
}

TEST_F(ShieldTest, AnApiThatIsDownIsAskedNowAndThen) {
  const auto shield = this->shield();
  const Asker good(*shield, here());
  settle();
  now_ += 100'000;
  status_ = 503;
  for (int i = 0; i < 20; ++i) {
    const Asker guest(*shield, here());
    settle();
    EXPECT_EQ(guest.body(), good.body());
  }
  EXPECT_EQ(api_.seen.size(), 1U + 3U);
  now_ += 1'000;
  status_ = 200;
  const Asker probe(*shield, here());
  settle();
  EXPECT_NE(probe.body(), good.body());
}

TEST_F(ShieldTest, AsksSoManyAtATime) {
  api_.at_once = false;
  const auto shield = this->shield();
  std::vector<std::unique_ptr<Asker>> guests;
  for (int i = 0; i < 5; ++i) {
    guests.push_back(std::make_unique<Asker>(*shield, here(i % 2), "/" + std::to_string(i)));
  }
  EXPECT_EQ(api_.waiting.size(), 2U);
  answer();
  EXPECT_EQ(api_.waiting.size(), 2U);
  answer();
  answer();
  EXPECT_EQ(api_.seen.size(), 5U);
  for (const auto& guest : guests) {
    EXPECT_EQ(guest->status(), 200U);
  }
}

TEST_F(ShieldTest, WhoWaitsInAContextThatEndsIsTold) {
  api_.at_once = false;
  const auto shield = this->shield();
  const Asker first(*shield, here()), elsewhere(*shield, here(1)), in_line(*shield, here(1), "/1"),
      last(*shield, here(1), "/2");
  contexts_.pop_back();
  EXPECT_EQ(elsewhere.status(), 503U);
  EXPECT_EQ(in_line.status(), 503U);
  EXPECT_EQ(last.status(), 503U);
  answer();
  EXPECT_EQ(first.status(), 200U);
  const Asker after(*shield, here(), "/3");
  answer();
  EXPECT_EQ(after.status(), 200U) << "those that could not be asked hold no place";
}

TEST(TextMember, IsOfTheObjectItself) {
  const auto member = [](std::string_view text, std::string_view name) {
    const auto found = text_member(text, name);
    return found ? std::string(text.substr(found->begin, found->length)) : "none";
  };
  EXPECT_EQ(member(R"({"a": "1"})", "a"), "1");
  EXPECT_EQ(member(R"( { "x" : [1, {"a": "2"}], "a" : "3" } )", "a"), "3");
  EXPECT_EQ(member(R"({"b": "\"a\": \"4\"", "a": "\\"})", "a"), R"(\\)");
  EXPECT_EQ(member(R"({"b": true, "c": null, "d": -1.5, "a": "5"})", "a"), "5");
  for (const auto* none : {"", "{}", "[]", R"({"a": 1})", R"({"b": {"a": "1"}})", R"({"a": "1)",
                           R"({"b": "\)", R"({"b": [)", R"({"b")", "{,}"}) {
    EXPECT_EQ(member(none, "a"), "none") << none;
  }
}

KeptAnswer answer_of(std::size_t bytes) {
  Response response;
  response.body = Body(std::string(bytes, 'x'));
  return *KeptAnswer::of(Request{}, std::move(response));
}

TEST(ShieldCache, KeepsSoManyBytes) {
  ShieldCache cache(64 * 1024);
  for (int i = 0; i < 100; ++i) {
    cache.put({std::to_string(i), "q"}, answer_of(3'000), 0);
    EXPECT_LE(cache.bytes(), 64U * 1024U);
    (void)cache.find({"0", "q"});
  }
  EXPECT_TRUE(cache.find({"0", "q"})) << "it was used again and again";
  EXPECT_TRUE(cache.find({"99", "q"}));
  EXPECT_FALSE(cache.find({"1", "q"}));
  cache.put({"100", "q"}, answer_of(30'000), 0);
  EXPECT_FALSE(cache.find({"100", "q"})) << "one is not worth all the others";
  EXPECT_TRUE(cache.find({"0", "q"}));
}

TEST(ShieldCache, AnInstancePushesOutItsOwn) {
  ShieldCache cache(64U << 20U);
  cache.put({"quiet", "q"}, answer_of(10), 0);
  for (std::size_t i = 0; i < 3 * ShieldCache::kMostOfInstance; ++i) {
    cache.put({"loud", std::to_string(i)}, answer_of(10), 0);
  }
  EXPECT_EQ(cache.size(), 1 + ShieldCache::kMostOfInstance);
  EXPECT_TRUE(cache.find({"quiet", "q"}));
  EXPECT_FALSE(cache.find({"loud", "0"}));
  cache.erase({"quiet", "q"});
  EXPECT_FALSE(cache.find({"quiet", "q"}));
  for (std::size_t i = 0; i < 3 * ShieldCache::kMostOfInstance; ++i) {
    cache.erase({"loud", std::to_string(i)});
  }
  EXPECT_EQ(cache.bytes(), 0U);
}

}  // namespace
}  // namespace metatap::agent
