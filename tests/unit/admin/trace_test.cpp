// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <optional>

#include "admin/request_watch.hpp"
#include "admin/top_command.hpp"
#include "admin/trace_command.hpp"
#include "admin/trace_log.hpp"

namespace metatap::admin {
namespace {

using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(TraceLog, GivesEachReaderWhatCameSinceAndCountsWhatIsLost) {
  TraceLog log;
  const auto begin = log.last();
  for (int i = 0; i < 3; ++i) {
    log.add({{"i", i}});
  }
  auto chunk = log.since(begin);
  EXPECT_EQ(chunk.lines.size(), 3U);
  EXPECT_EQ(chunk.lost, 0U);
  EXPECT_TRUE(log.since(chunk.next).lines.empty());
  log.add_lost(5);
  for (std::size_t i = 0; i < TraceLog::kMost; ++i) {
    log.add(Json::object());
  }
  chunk = log.since(begin);
  EXPECT_EQ(chunk.lines.size(), TraceLog::kMost);
  EXPECT_EQ(chunk.lost, 8U);
  EXPECT_EQ(log.since(1'000'000).lines.size(), 0U);
}

TEST(TraceLog, IsWantedForAsLongAsSomebodyLooksOn) {
  TraceLog log;
  const auto now = TraceLog::Clock::now();
  EXPECT_FALSE(log.wanted());
  log.look_on(now + std::chrono::seconds(3));
  log.add(Json::object());
  log.look_away(now + std::chrono::seconds(2));
  EXPECT_TRUE(log.wanted());
  log.look_away(now + std::chrono::seconds(4));
  EXPECT_FALSE(log.wanted());
  EXPECT_TRUE(log.since(0).lines.empty()) << "nobody reads them any more";
}

/// A stage that answers at once, or when it is told to.
struct Stage final : Handler {
  std::optional<Response> handle(const Request&, boost::asio::io_context&,
                                 Continuation& then) override {
    waiting = &then;
    return now;
  }
  std::optional<Response> now;
  Continuation* waiting = nullptr;
};

/// One that only asks the next.
struct Between final : Handler {
  explicit Between(Handler& its_next) : next(its_next) {}
  std::optional<Response> handle(const Request& request, boost::asio::io_context& here,
                                 Continuation& then) override {
    return next.ask(request, here, then);
  }
  Handler& next;
};

struct Waiting final : Continuation {
  void answered(Response&& response) noexcept override { status = response.status; }
  unsigned status = 0;
};

class Watching : public testing::Test {
 protected:
  std::optional<Response> ask() {
    const std::array headers{Header{"X-Metatap-Port-ID", "p-1"},
                             Header{"X-Forwarded-For", "10.0.0.10"}};
    const Request request{.target = "/latest/meta-data", .headers = headers, .peer = &peer_};
    return before_agent_.ask(request, here_, then_);
  }
  const Peer peer_{.in_process = true, .address = {}};
  boost::asio::io_context here_;
  TraceLog log_;
  Stage api_;
  RequestWatch before_api_{api_, log_, RequestWatch::Before::api};
  Between agent_{before_api_};
  RequestWatch before_agent_{agent_, log_, RequestWatch::Before::agent};
  Waiting then_;
};

TEST_F(Watching, SaysNothingWhileNobodyLooksOn) {
  api_.now = Response{};
  EXPECT_TRUE(ask());
  EXPECT_EQ(log_.last(), 0U);
}

TEST_F(Watching, TellsOfWhatIsAnsweredAtOnce) {
  log_.look_on(TraceLog::Clock::now() + std::chrono::seconds(9));
  api_.now = Response{.status = 404};
  EXPECT_EQ(ask()->status, 404U);
  const auto line = log_.since(0).lines.at(0);
  EXPECT_EQ(line["port"], "p-1");
  EXPECT_EQ(line["source"], "10.0.0.10");
  EXPECT_EQ(line["status"], 404);
  EXPECT_TRUE(line.contains("api_us"));
}

TEST_F(Watching, TellsOfWhatIsAnsweredLater) {
  log_.look_on(TraceLog::Clock::now() + std::chrono::seconds(9));
  EXPECT_FALSE(ask());
  EXPECT_EQ(log_.last(), 0U);
  api_.waiting->answered(Response{.status = 503});
  EXPECT_EQ(then_.status, 503U);
  const auto line = log_.since(0).lines.at(0);
  EXPECT_EQ(line["status"], 503);
  EXPECT_TRUE(line.contains("agent_us"));
}

const Json kPacket{{"kind", "packet"},      {"time", 0},         {"port", "p-1"},
                   {"device", "tap0"},      {"outcome", "drop"}, {"reason", "spoofed_v4"},
                   {"source", "10.0.0.99"}, {"length", 74}};
const Json kRequest{{"kind", "request"},     {"time", 0},       {"port", "p-1"},
                    {"source", "10.0.0.10"}, {"method", "GET"}, {"path", "/a/b\x1b"},
                    {"status", 404},         {"bytes", 10},     {"total_us", 30}};

TEST(TraceFilter, ChoosesByPortVerdictStatusAndPath) {
  EXPECT_TRUE(TraceFilter{}.shows(kPacket));
  EXPECT_TRUE(TraceFilter{}.shows(kRequest));
  EXPECT_FALSE(TraceFilter{.port = "p-2"}.shows(kPacket));
  EXPECT_TRUE(TraceFilter{.verdict = "drop"}.shows(kPacket));
  EXPECT_FALSE(TraceFilter{.verdict = "steer"}.shows(kPacket));
  EXPECT_FALSE(TraceFilter{.verdict = "drop"}.shows(kRequest));
  EXPECT_TRUE(TraceFilter{.status = "4xx"}.shows(kRequest));
  EXPECT_TRUE(TraceFilter{.status = "404"}.shows(kRequest));
  EXPECT_FALSE(TraceFilter{.status = "5xx"}.shows(kRequest));
  EXPECT_FALSE(TraceFilter{.status = "4xx"}.shows(kPacket));
  EXPECT_TRUE(TraceFilter{.path = "/b"}.shows(kRequest));
  EXPECT_FALSE(TraceFilter{.path = "/c"}.shows(kRequest));
}

TEST(TraceText, ShowsNoControlCharacters) {
  EXPECT_THAT(trace_text(kPacket), AllOf(HasSubstr("drop"), HasSubstr("spoofed_v4"),
                                         HasSubstr("10.0.0.99"), HasSubstr("74 B")));
  EXPECT_THAT(trace_text(kRequest),
              AllOf(HasSubstr("404"), HasSubstr("/a/b?"), Not(HasSubstr("\x1b"))));
}

Json ports_with(std::uint64_t bytes, std::uint64_t refused) {
  return Json::array({{{"id", "p-1"},
                       {"instance", "web"},
                       {"traffic", {{"bytes", bytes}, {"answer_bytes", 0}, {"refused", refused}}}},
                      {{"id", "p-2"}, {"device", "tap2"}}});
}

TEST(TopMeter, RatesAreOfTheTimeBetweenTwoLooks) {
  TopMeter meter;
  static_cast<void>(meter.rates(ports_with(1000, 1), std::chrono::seconds(1)));
  for (int i = 1; i <= 100; ++i) {
    meter.note(
        {{"kind", "request"}, {"port", "p-1"}, {"status", i > 90 ? 404 : 200}, {"total_us", i}});
  }
  meter.note(kPacket);
  auto rates = meter.rates(ports_with(5000, 5), std::chrono::seconds(2));
  sort_by(rates, TopOrder::requests);
  ASSERT_EQ(rates.size(), 2U);
  EXPECT_EQ(rates[0].name, "web");
  EXPECT_DOUBLE_EQ(rates[0].requests, 50);
  EXPECT_DOUBLE_EQ(rates[0].errors, 5);
  EXPECT_DOUBLE_EQ(rates[0].bytes, 2000);
  EXPECT_DOUBLE_EQ(rates[0].refused, 2);
  EXPECT_EQ(rates[0].p50, 50);
  EXPECT_EQ(rates[0].p99, 99);
  EXPECT_EQ(rates[1].name, "tap2");
  // The number of a slot has begun anew: no traffic of billions.
  EXPECT_DOUBLE_EQ(meter.rates(ports_with(10, 0), std::chrono::seconds(1))[0].bytes, 0);
}

TEST(TopMeter, WhatWasLostCountsLikeWhatWasSeen) {
  TopMeter meter;
  meter.note({{"kind", "request"}, {"port", "p-1"}, {"status", 200}, {"total_us", 1}});
  meter.note_lost(9);
  EXPECT_DOUBLE_EQ(meter.rates(ports_with(0, 0), std::chrono::seconds(1))[0].requests, 10);
}

TEST(TopText, FitsTheTerminal) {
  const std::vector<PortRate> rates(
      5, PortRate{.port = "p", .name = "a-very-long-name", .requests = 7});
  for (const unsigned columns : {20U, 40U, 80U}) {
    const auto text = top_text(rates, TopOrder::requests, columns, 4);
    EXPECT_THAT(text, HasSubstr("REQ/S"));
    std::size_t begin = 0, lines = 0;
    for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
      EXPECT_LE(end - begin, columns);
      begin = end + 1;
      ++lines;
    }
    EXPECT_EQ(lines, 3U);
  }
  EXPECT_THAT(top_text(rates, TopOrder::p99, 24, 0),
              AllOf(HasSubstr("P99"), Not(HasSubstr("REQ"))));
}

}  // namespace
}  // namespace metatap::admin
