// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "admin/doctor_command.hpp"
#include "admin/status_command.hpp"
#include "admin/upstream_health.hpp"

namespace metatap::admin {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class StatusText : public testing::Test {
 protected:
  [[nodiscard]] std::string of(const Json& status) const {
    return status_text(terminal_, status, 1'000'000);
  }
  std::istringstream in_;
  std::ostringstream out_, err_;
  const Terminal terminal_{in_, out_, err_};
};

TEST_F(StatusText, HasTimesAsAPersonSaysThem) {
  const auto text =
      of({{"worker", {{"pid", 7}, {"uptime_s", 7800}}},
          {"inventory", {{"age", 130}, {"file_applied_at", 999'940}}},
          {"to api", {{"answered_at", 0}, {"requests", 130}}},
          {"taps", {{"self_probe", {{{"family", "IPv4"}, {"last_answer_at", 999'999}}}}}}});
  EXPECT_THAT(text, AllOf(HasSubstr("uptime  2 h 10 min\n"), HasSubstr("age           2 min\n"),
                          HasSubstr("file applied  60 s ago\n"), HasSubstr("answered  never\n"),
                          HasSubstr("requests  130\n"), HasSubstr("IPv4    1 s ago\n")));
}

TEST_F(StatusText, LeavesOutWhatSaysNothing) {
  const auto text =
      of({{"taps", {{"problem", ""}, {"devices", Json::array()}, {"x", nullptr}, {"repairs", 0}}}});
  EXPECT_EQ(text, "taps\n  repairs  0\n");
}

TEST_F(StatusText, SaysFirstWhetherGuestsAreServed) {
  Json health{{"guests_are_served", true}, {"problems", Json::array()}, {"notes", Json::array()}};
  EXPECT_THAT(of({{"health", health}}), StartsWith("guests are served\n"));
  health["problems"] = {"database: it is\x1b[2J away"};
  EXPECT_THAT(of({{"health", health}}),
              StartsWith("guests are served, but\n  database: it is?[2J away\n"));
  health["guests_are_served"] = false;
  EXPECT_THAT(of({{"health", health}}), StartsWith("guests are NOT served"));
}

TEST(Screen, HasTheBeginningOfAText) {
  const Screen screen{.terminal = true, .columns = 10, .rows = 4};
  EXPECT_EQ(screen.first_of("one\ntwo\n"), "one\ntwo\n");
  EXPECT_EQ(screen.first_of("one\ntwo\nthree\nfour\n"), "one\ntwo\nthree\n");
  EXPECT_EQ(screen.first_of("0123456789ab\ntwo\nthree\n"), "0123456789ab\ntwo\n")
      << "a long line takes two rows";
  EXPECT_EQ(screen.first_of("0123456789\ntwo\nthree\nfour"), "0123456789\ntwo\nthree\n");
  EXPECT_EQ(screen.first_of("\x1b[31mäöüäöüäöüä\x1b[0m\n2\n3\n4"),
            "\x1b[31mäöüäöüäöüä\x1b[0m\n2\n3\n")
      << "neither colours nor bytes are characters";
  EXPECT_EQ(Screen{}.first_of("one\ntwo\nthree\nfour\n"), "one\ntwo\nthree\nfour\n");
}

TEST(Doctor, LooksAtTheClockItself) {
  const auto now = std::chrono::system_clock::time_point(24h * 365 * 57);
  EXPECT_EQ(clock_finding(now, true), nullptr);
  EXPECT_EQ(clock_finding(now, false)["severity"], "note");
  EXPECT_EQ(clock_finding({}, true)["severity"], "warning") << "as after a flat battery";
}

UpstreamCounts<> failed(std::uint64_t requests) {
  return {.timeouts = requests};
}

TEST(UpstreamHealth, SaysWhatNoRequestHadAnAnswerSince) {
  UpstreamHealth health;
  const auto now = UpstreamHealth::Time(1'000'000s);
  EXPECT_EQ(health.problem(now), "");
  health.look(5, failed(0), now);
  EXPECT_EQ(health.answered_at(), now);
  EXPECT_EQ(health.failed_at(), UpstreamHealth::Time());
  health.look(7, failed(2), now + 10s);
  health.look(8, failed(3), now + 20s);
  EXPECT_EQ(health.problem(now + 20s), "it has not answered for 10 s: 3 requests in a row");
  health.look(8, failed(4), now + 21s);  // one whose failure is counted, and its response not yet
  EXPECT_NE(health.problem(now + 21s), "");
  health.look(10, failed(4), now + 30s);
  EXPECT_EQ(health.problem(now + 30s), "");
}

TEST(UpstreamHealth, KnowsTheVeryFirstFailureBeforeItsResponseIsCounted) {
  UpstreamHealth health;
  const auto now = UpstreamHealth::Time(1'000'000s);
  health.look(0, failed(1), now);
  EXPECT_EQ(health.answered_at(), UpstreamHealth::Time());
  EXPECT_EQ(health.problem(now), "it has not answered for 0 s: 1 request");
  health.look(2, failed(1), now + 1s);
  EXPECT_EQ(health.problem(now + 1s), "") << "the other one was answered";
}

TEST(UpstreamHealth, NobodyKnowsHowItIsAfterAMinute) {
  UpstreamHealth health;
  const auto now = UpstreamHealth::Time(1'000'000s);
  health.look(1, failed(1), now);
  EXPECT_NE(health.problem(now + 60s), "");
  EXPECT_EQ(health.problem(now + 61s), "");
  EXPECT_EQ(health.failed_at(), now) << "when it was is known for ever";
}

TEST(UpstreamHealth, OneThatAnswersSomeIsNoProblem) {
  UpstreamHealth health;
  const auto now = UpstreamHealth::Time(1'000'000s);
  health.look(20, failed(10), now);
  EXPECT_EQ(health.problem(now), "");
  EXPECT_EQ(health.failed_at(), now);
}

TEST(UpstreamHealth, BelievesAQuestionOfAnOperatorAsMuch) {
  UpstreamHealth health;
  const auto now = UpstreamHealth::Time(1'000'000s);
  health.asked({.requests = 1, .unavailable = 1}, now);
  EXPECT_EQ(health.problem(now), "it has not answered for 0 s: 1 request");
  health.look(1, failed(1), now + 5s);
  EXPECT_EQ(health.problem(now + 5s), "it has not answered for 5 s: 2 requests in a row");
  health.asked({.requests = 1}, now + 6s);
  EXPECT_EQ(health.problem(now + 6s), "");
  EXPECT_EQ(health.answered_at(), now + 6s);
}

}  // namespace
}  // namespace metatap::admin
