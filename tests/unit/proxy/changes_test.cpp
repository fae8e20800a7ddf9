// SPDX-License-Identifier: Apache-2.0
// Entity tags, and requests that wait until their answer changes.
#include <gmock/gmock.h>

#include <atomic>
#include <mutex>

#include "base/boot_time.hpp"
#include "base/random_seed.hpp"
#include "http/endpoint.hpp"
#include "proxy/change_query.hpp"
#include "proxy/etag.hpp"
#include "proxy/stage.hpp"
#include "unit/http/support.hpp"

namespace metatap::proxy {
namespace {

using namespace metatap::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// ---- Tags

std::string with_seed(std::string_view name, std::string_view behind = "}") {
  std::string text = "{\"name\": \"" + std::string(name) + "\", \"random_seed\": \"";
  append_random_seed(text);
  return text + "\"" + std::string(behind);
}

TEST(Etag, IsThatOfTheContentHoweverItIsStored) {
  const auto shared = std::make_shared<const std::string>("a body in parts");
  EXPECT_EQ(etag_of(Body(std::string("a body in two parts"))), etag_of(Body(shared, 10, "two ")));
  EXPECT_EQ(etag_of(Body(shared)), etag_of(Body(*shared)));
  EXPECT_NE(etag_of(Body(shared)), etag_of(Body(std::string("another"))));
  EXPECT_EQ(etag_of(Body(std::string())).size(), 18U);
}

TEST(Etag, IsTheSameFromBuildToBuild) {
  EXPECT_EQ(etag_of(Body(std::string("red"))), "\"67b1dc007bbe6755\"");
}

TEST(Etag, LeavesTheSeedOutAndSaysSo) {
  const auto one = etag_of(Body(with_seed("red")));
  EXPECT_TRUE(one.starts_with("W/\"")) << one;
  EXPECT_EQ(one, etag_of(Body(with_seed("red"))));
  EXPECT_NE(one, etag_of(Body(with_seed("blue"))));
  EXPECT_NE(one, etag_of(Body(with_seed("red", ", \"later\": 1}"))));
}

TEST(Etag, SeesWhatOnlyLooksLikeASeed) {
  const auto of = [](std::string value) {
    return etag_of(Body("{\"meta\": {\"random_seed\": \"" + std::move(value) + "\"}}"));
  };
  EXPECT_NE(of("a"), of("b"));
  EXPECT_NE(of(std::string(684, '-')), of(std::string(684, '.')));
  // And the seed behind it is none of the tag all the same.
  EXPECT_EQ(etag_of(Body(with_seed("x", ", \"meta\": {\"random_seed\": \"a\"}}"))),
            etag_of(Body(with_seed("x", ", \"meta\": {\"random_seed\": \"a\"}}"))));
}

TEST(Etag, IsFoundInLists) {
  EXPECT_TRUE(names_etag("\"a\", W/\"b\"", "\"b\""));
  EXPECT_TRUE(names_etag("\"b\"", "W/\"b\""));
  EXPECT_TRUE(names_etag("b", "W/\"b\""));
  EXPECT_TRUE(names_etag("*", "\"b\""));
  EXPECT_FALSE(names_etag("", "\"b\""));
  EXPECT_FALSE(names_etag(" , ", "\"b\""));
  EXPECT_FALSE(names_etag("\"a\"", "\"b\""));
}

// ---- Queries

TEST(ChangeQuery, IsTakenOutOfTheTarget) {
  const auto query =
      ChangeQuery::of("/a?x=1&wait_for_change=TRUE&last_etag=W/%22b%22&y&timeout_sec=7");
  ASSERT_TRUE(query && *query);
  EXPECT_EQ((*query)->target, "/a?x=1&y");
  EXPECT_TRUE((*query)->wait);
  EXPECT_EQ((*query)->last_etag, "W/\"b\"");
  EXPECT_EQ((*query)->timeout, std::chrono::seconds(7));
  EXPECT_EQ((*ChangeQuery::of("/a?wait_for_change=true"))->target, "/a");
}

TEST(ChangeQuery, IsNoneWhereNothingIsSaid) {
  for (const auto* target : {"/wait_for_change=true", "/a?timeout_sec=7",
                             "/a?x_wait_for_change=true", "/a?", "/a?last_etag=b"}) {
    const auto query = ChangeQuery::of(target);
    EXPECT_TRUE(query && !*query) << target;
  }
  EXPECT_FALSE((*ChangeQuery::of("/a?wait_for_change=false"))->wait);
}

TEST(ChangeQuery, RefusesNonsense) {
  for (const auto* target :
       {"/a?wait_for_change=", "/a?wait_for_change=2", "/a?wait_for_change=true&timeout_sec=-1",
        "/a?wait_for_change=true&timeout_sec=1s", "/a?wait_for_change=true&timeout_sec="}) {
    EXPECT_FALSE(ChangeQuery::of(target)) << target;
  }
}

// ---- Through the stage

class Everybody : public CallerResolver {
 public:
  explicit Everybody(Caller caller) : caller_(std::move(caller)) {}
  Caller caller_of(int, const sockaddr_storage&) const override { return caller_; }

 private:
  Caller caller_;
};

class ChangesTest : public ::testing::TestWithParam<bool> {
 protected:
  ChangesTest() { options_.long_poll.look_every = std::chrono::hours(1); }
  ~ChangesTest() override {
    stage_.reset();
    workers_.stop();
    workers_.join();
  }
  void start() {
    origin_->port_id = "port-1";
    origin_->network_id = "network-1";
    origin_->owner = 1;
    origin_->holds = holds_;
    handler_.emplace([this](const Request& request) { return answer(request); }, GetParam());
    stage_.emplace(workers_, *handler_, options_);
    workers_.start();
    GuestListener listener;
    listener.fd = std::move(*http::listen_tcp({"127.0.0.1", 0}));
    port_ = http::bound_port(listener.fd.get());
    listener.name = "guests";
    stage_->open(std::move(listener), std::make_shared<Everybody>(Caller{origin_, "10.0.0.5"}));
  }
  Response answer(const Request& request) {
    const std::lock_guard lock(mutex_);
    ++asked_;
    target_ = request.target;
    return text_response(status_, body_);
  }
  void set(std::string body, unsigned status = 200) {
    const std::lock_guard lock(mutex_);
    body_ = std::move(body);
    status_ = status;
  }
  int asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::string target() {
    const std::lock_guard lock(mutex_);
    return target_;
  }
  /// One that has sent a request.
  Client asking(const std::string& target, const std::string& headers = "",
                const std::string& method = "GET") {
    Client one = Client::tcp(port_);
    one.send(method + " " + target + " HTTP/1.1\r\n" + headers + "\r\n");
    return one;
  }
  std::string ask(const std::string& target, const std::string& headers = "",
                  const std::string& method = "GET") {
    return asking(target, headers, method).read_response();
  }
  /// One that waits for another answer than there is now.
  Client waiting(const std::string& more = "") {
    const auto before = stage_->counters().waiting;
    auto one = asking("/a?wait_for_change=true" + more);
    EXPECT_TRUE(eventually([&] { return stage_->counters().waiting > before; }));
    return one;
  }
  bool nobody_waits() {
    return eventually([&] { return stage_->counters().waiting == 0; });
  }
  std::string tag_of(const std::string& body) { return etag_of(Body(std::string(body))); }

  http::Workers workers_{1};
  ProxyOptions options_;
  std::optional<FunctionHandler> handler_;
  std::shared_ptr<Ownership> holds_ = std::make_shared<Ownership>(1);
  std::shared_ptr<Origin> origin_ = std::make_shared<Origin>();
  std::optional<ProxyStage> stage_;
  std::uint16_t port_ = 0;
  std::mutex mutex_;
  std::string body_ = "red", target_;
  unsigned status_ = 200;
  int asked_ = 0;
};
INSTANTIATE_TEST_SUITE_P(FastAndSlow, ChangesTest, ::testing::Bool());

TEST_P(ChangesTest, WhoAsksForItGetsATagAndNothingTwice) {
  start();
  EXPECT_THAT(ask("/a"), Not(HasSubstr("ETag")));
  const auto first = ask("/a", "If-None-Match:\r\n");
  EXPECT_EQ(body_of(first), "red");
  EXPECT_THAT(first, HasSubstr("ETag: " + tag_of("red") + "\r\n"));
  const auto again = ask("/a", "If-None-Match: \"x\", " + tag_of("red") + "\r\n");
  EXPECT_EQ(status_of(again), 304U);
  EXPECT_THAT(again, AllOf(HasSubstr("ETag: " + tag_of("red")), Not(HasSubstr("Content-"))));
  EXPECT_EQ(body_of(again), "");
  set("blue");
  EXPECT_EQ(body_of(ask("/a", "If-None-Match: " + tag_of("red") + "\r\n")), "blue");
}

TEST_P(ChangesTest, EachGetMayHaveATagAndNothingElse) {
  options_.etags = EtagMode::always;
  start();
  EXPECT_THAT(ask("/a"), HasSubstr("ETag: " + tag_of("red")));
  EXPECT_THAT(ask("/a", "Content-Length: 0\r\n", "POST"), Not(HasSubstr("ETag")));
  EXPECT_THAT(ask("/a", "", "HEAD"), Not(HasSubstr("ETag")));
  set("no", 404);
  EXPECT_THAT(ask("/a", "If-None-Match: *\r\n"), AllOf(HasSubstr("404"), Not(HasSubstr("ETag"))));
}

TEST_P(ChangesTest, TagsCanBeSwitchedOff) {
  options_.etags = EtagMode::off;
  start();
  const auto response = ask("/a", "If-None-Match: " + tag_of("red") + "\r\n");
  EXPECT_EQ(status_of(response), 200U);
  EXPECT_THAT(response, Not(HasSubstr("ETag")));
}

TEST_P(ChangesTest, WhoHasSomethingElseIsAnsweredAtOnce) {
  start();
  const auto response = ask("/a?wait_for_change=true&last_etag=0&more=1");
  EXPECT_EQ(body_of(response), "red");
  EXPECT_THAT(response, HasSubstr("ETag: " + tag_of("red")));
  EXPECT_EQ(target(), "/a?more=1");
  EXPECT_EQ(body_of(ask("/a?wait_for_change=false")), "red");
}

TEST_P(ChangesTest, WaitsUntilItsPortHasAnotherAnswer) {
  start();
  for (const auto& more : {"&last_etag=" + tag_of("red"), std::string()}) {
    set("red");
    auto one = waiting(more);
    const int before = asked();
    stage_->changed({"port-2"});
    set("blue");
    EXPECT_EQ(one.read_response(50ms), "");
    EXPECT_EQ(asked(), before);
    stage_->changed({"port-2", "port-1"});
    EXPECT_EQ(body_of(one.read_response()), "blue");
    EXPECT_TRUE(nobody_waits());
    // The connection is good for more.
    one.send("GET /a HTTP/1.1\r\n\r\n");
    EXPECT_EQ(body_of(one.read_response()), "blue");
  }
}

TEST_P(ChangesTest, WhatChangedIsSomethingElseThanItsAnswer) {
  start();
  auto one = waiting();
  const int before = asked();
  stage_->changed({"port-1"});
  EXPECT_TRUE(eventually([&] { return asked() > before; }));
  EXPECT_EQ(one.read_response(50ms), "");
  EXPECT_EQ(stage_->counters().waiting, 1U);
}

TEST_P(ChangesTest, IsCountedOnce) {
  start();
  auto one = waiting();
  set("blue");
  stage_->changed({"port-1"});
  EXPECT_EQ(body_of(one.read_response()), "blue");
  EXPECT_EQ(stage_->access().status_of("port-1")->counts.plain, 1U);
}

TEST_P(ChangesTest, WhatIsSealedByThenIsRefused) {
  options_.access.sealed = {"user_data"};
  options_.access.access.boot_window = std::chrono::seconds(1);
  origin_->came = boot_time();
  start();
  auto one = asking("/openstack/latest/user_data?wait_for_change=true&timeout_sec=2");
  EXPECT_EQ(status_of(one.read_response(10s)), 403U);
}

TEST_P(ChangesTest, LooksForItselfWhereNobodyTells) {
  options_.long_poll.look_every = 20ms;
  start();
  auto one = waiting();
  set("blue");
  EXPECT_EQ(body_of(one.read_response()), "blue");
}

TEST_P(ChangesTest, ItsTimeIsOver) {
  start();
  auto none = ask("/a?wait_for_change=true&timeout_sec=0");
  EXPECT_EQ(body_of(none), "red");
  auto one = waiting("&timeout_sec=1");
  EXPECT_EQ(body_of(one.read_response(5s)), "red");
  EXPECT_TRUE(nobody_waits());
}

TEST_P(ChangesTest, WaitsNoLongerThanMayBe) {
  options_.long_poll.longest = 300ms;
  start();
  EXPECT_EQ(body_of(waiting("&timeout_sec=1000").read_response(5s)), "red");
}

TEST_P(ChangesTest, AnOutageIsWaitedOut) {
  start();
  auto one = waiting();
  set("down", 503);
  const int before = asked();
  stage_->changed({"port-1"});
  EXPECT_TRUE(eventually([&] { return asked() > before; }));
  EXPECT_EQ(one.read_response(50ms), "");
  set("blue");
  stage_->changed({"port-1"});
  EXPECT_EQ(body_of(one.read_response()), "blue");
  // But one that is there from the start is the answer, and so is any other refusal.
  set("down", 503);
  EXPECT_EQ(status_of(ask("/a?wait_for_change=true")), 503U);
  set("red");
  auto other = waiting();
  set("gone", 404);
  stage_->changed({"port-1"});
  EXPECT_EQ(status_of(other.read_response()), 404U);
}

TEST_P(ChangesTest, NonsenseIsRefused) {
  start();
  EXPECT_EQ(status_of(ask("/a?wait_for_change=maybe")), 400U);
  EXPECT_EQ(status_of(ask("/a?wait_for_change=true", "Content-Length: 0\r\n", "POST")), 400U);
  EXPECT_EQ(asked(), 0);
}

TEST_P(ChangesTest, APortAndAllHaveSoManyAndNoMore) {
  options_.long_poll.most_of_port = 2;
  start();
  auto one = waiting();
  auto two = waiting();
  const auto refused = ask("/a?wait_for_change=true");
  EXPECT_EQ(status_of(refused), 503U);
  EXPECT_THAT(refused, HasSubstr("Retry-After"));
  EXPECT_EQ(stage_->counters().waits_refused, 1U);
  EXPECT_EQ(body_of(ask("/a")), "red");
  set("blue");
  stage_->changed({"port-1"});
  EXPECT_EQ(body_of(one.read_response()), "blue");
  EXPECT_EQ(body_of(two.read_response()), "blue");
  set("red");
  auto three = waiting();
}

TEST_P(ChangesTest, NobodyNeedWait) {
  options_.long_poll.most = 0;
  start();
  EXPECT_EQ(status_of(ask("/a?wait_for_change=true")), 503U);
}

TEST_P(ChangesTest, IsNoRequestInFlightWhileItWaits) {
  start();
  auto one = waiting();
  EXPECT_EQ(stage_->counters().in_flight, 0U);
  EXPECT_EQ(workers_.overload()->usage().requests_in_flight, 0U);
  set("blue");
  stage_->changed({"port-1"});
  EXPECT_EQ(body_of(one.read_response()), "blue");
  EXPECT_TRUE(eventually([&] { return workers_.overload()->usage().requests_in_flight == 0; }));
  EXPECT_EQ(stage_->counters().in_flight, 0U);
}

TEST_P(ChangesTest, AGuestThatHasGoneIsFound) {
  options_.long_poll.look_every = 20ms;
  start();
  {
    auto one = waiting();
  }
  EXPECT_TRUE(nobody_waits());
}

TEST_P(ChangesTest, APortThatIsAnothersNowGetsNothing) {
  start();
  auto one = waiting();
  set("blue");
  const int before = asked();
  holds_->store(2);
  stage_->changed({"port-1"});
  EXPECT_EQ(status_of(one.read_response()), 503U);
  EXPECT_EQ(asked(), before);
}

TEST_P(ChangesTest, ADrainAnswersWithWhatThereIs) {
  start();
  {
    auto one = waiting();
    stage_->drain();
    EXPECT_EQ(body_of(one.read_response()), "red");
  }
  EXPECT_TRUE(eventually([&] { return stage_->open_connections() == 0; }));
}

TEST_P(ChangesTest, TheEndAsksNobodyAnyMore) {
  start();
  auto one = waiting();
  const int before = asked();
  stage_->stop(0ms);
  const int after = asked();
  EXPECT_LE(after, before + 1);
  stage_.reset();
  one.read_all();
  EXPECT_EQ(asked(), after);
}

TEST_P(ChangesTest, ManyWaitAndAllHear) {
  options_.long_poll.most_of_port = 100;
  options_.max_connections_per_port = 100;
  start();
  std::vector<Client> all;
  for (int i = 0; i < 100; ++i) {
    all.push_back(asking("/a?wait_for_change=true"));
  }
  EXPECT_TRUE(eventually([&] { return stage_->counters().waiting == 100; }));
  set("blue");
  stage_->changed({"port-1"});
  for (Client& one : all) {
    EXPECT_EQ(body_of(one.read_response()), "blue");
  }
  EXPECT_TRUE(nobody_waits());
}

}  // namespace
}  // namespace metatap::proxy
