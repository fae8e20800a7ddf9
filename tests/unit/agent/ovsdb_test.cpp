// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>
#include <thread>

#include "agent/ovn_feed.hpp"
#include "agent/ovsdb_client.hpp"
#include "agent/ovsdb_connection.hpp"
#include "agent/ovsdb_value.hpp"
#include "base/json_text.hpp"

namespace metatap::agent {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

TEST(JsonSplitter, CutsAStreamIntoTexts) {
  const std::string stream = R"( {"a":"}\"{"} [1,[2]])"
                             "\n"
                             R"({"b":{}})";
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    JsonSplitter splitter;
    std::vector<std::string> all;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      auto texts = splitter.take(std::string_view(stream).substr(at, step));
      ASSERT_TRUE(texts);
      all.insert(all.end(), texts->begin(), texts->end());
    }
    EXPECT_THAT(all, ElementsAre(R"({"a":"}\"{"})", "[1,[2]]", R"({"b":{}})")) << step;
    EXPECT_EQ(splitter.pending(), 0U);
  }
  JsonSplitter splitter;
  EXPECT_FALSE(splitter.take("HTTP/1.1 400 Bad Request\r\n"));
}

TEST(JsonSplitter, TakesNoTextThatIsNestedWithoutEnd) {
  JsonSplitter splitter;
  EXPECT_TRUE(splitter.take(std::string(kDeepestJson, '[')));
  EXPECT_FALSE(splitter.take("["));
}

TEST(OvsdbValue, ReadsWhatColumnsHold) {
  const OvsdbRow row{{"text", "a"},
                     {"texts", json::parse(R"(["set",["a","b"]])")},
                     {"none", json::parse(R"(["set",[]])")},
                     {"number", 7},
                     {"uuid", json::parse(R"(["uuid","u1"])")},
                     {"uuids", json::parse(R"(["set",[["uuid","u1"],["uuid","u2"]]])")},
                     {"map", json::parse(R"(["map",[["k","v"],["odd",1]]])")},
                     {"odd", json::parse(R"({"set":1})")}};
  EXPECT_EQ(ovsdb_text(row, "text"), "a");
  EXPECT_EQ(ovsdb_text(row, "texts"), std::nullopt);
  EXPECT_EQ(ovsdb_text(row, "none"), std::nullopt);
  EXPECT_EQ(ovsdb_text(row, "absent"), std::nullopt);
  EXPECT_EQ(ovsdb_text(row, "odd"), std::nullopt);
  EXPECT_THAT(ovsdb_texts(row, "texts"), ElementsAre("a", "b"));
  EXPECT_THAT(ovsdb_texts(row, "text"), ElementsAre("a"));
  EXPECT_EQ(ovsdb_integer(row, "number"), 7);
  EXPECT_EQ(ovsdb_integer(row, "text"), std::nullopt);
  EXPECT_EQ(ovsdb_uuid(row, "uuid"), "u1");
  EXPECT_THAT(ovsdb_uuids(row, "uuids"), ElementsAre("u1", "u2"));
  EXPECT_EQ(ovsdb_entry(row, "map", "k"), "v");
  EXPECT_EQ(ovsdb_entry(row, "map", "odd"), std::nullopt);
  EXPECT_EQ(ovsdb_entry(row, "text", "k"), std::nullopt);
}

TEST(OvsdbValue, AppliesDifferences) {
  const auto column = [](const char* type) { return ovsdb_column(json::parse(type)); };
  const auto set = column(R"({"key":"string","min":0,"max":"unlimited"})");
  const auto map = column(R"({"key":"string","value":"string","min":0,"max":"unlimited"})");
  const auto optional = column(R"({"key":{"type":"uuid"},"min":0,"max":1})");
  EXPECT_EQ(ovsdb_changed("a", "b", column(R"("string")")), "b");
  EXPECT_EQ(ovsdb_changed(json::parse(R"(["uuid","u1"])"), json::parse(R"(["set",[]])"), optional),
            json::parse(R"(["set",[]])"));
  EXPECT_EQ(ovsdb_changed("a", json::parse(R"(["set",["a","b"]])"), set),
            json::parse(R"(["set",["b"]])"));
  EXPECT_EQ(ovsdb_changed(json(), "c", set), json::parse(R"(["set",["c"]])"));
  EXPECT_EQ(ovsdb_changed(json(), json::parse(R"(["map",[["a","1"]]])"), map),
            json::parse(R"(["map",[["a","1"]]])"));
  EXPECT_EQ(ovsdb_changed(json::parse(R"(["set",["a","b"]])"), "c", set),
            json::parse(R"(["set",["a","b","c"]])"));
  EXPECT_EQ(ovsdb_changed(json::parse(R"(["map",[["a","1"],["b","2"],["c","3"]]])"),
                          json::parse(R"(["map",[["a","1"],["b","9"],["d","4"]]])"), map),
            json::parse(R"(["map",[["b","9"],["c","3"],["d","4"]]])"));
}

TEST(OvsdbClient, NamesWhatIsWrongWithARemote) {
  boost::asio::io_context context;
  for (const auto* remote : {"", "tcp", "tcp:", "tcp:host", "tcp::1", "tcp:host:", "udp:host:1",
                             "unix:", "http://host:1"}) {
    const auto client =
        OvsdbClient::create(context, {.remotes = {remote}, .database = "X"}, {}, nullptr);
    ASSERT_FALSE(client) << remote;
    EXPECT_THAT(client.error().message, HasSubstr(std::string("'") + remote + "'"));
  }
  EXPECT_FALSE(OvsdbClient::create(context, {.remotes = {}, .database = "X"}, {}, nullptr));
  const auto no_ca =
      OvsdbClient::create(context, {.remotes = {"ssl:host:1"}, .database = "X"}, {}, nullptr);
  ASSERT_FALSE(no_ca);
  EXPECT_THAT(no_ca.error().message, HasSubstr("CA certificate"));
  const auto absent = OvsdbClient::create(
      context, {.remotes = {"ssl:host:1"}, .database = "X", .ca_cert = "/absent/ca"}, {}, nullptr);
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, HasSubstr("/absent/ca"));
  EXPECT_TRUE(OvsdbClient::create(
      context, {.remotes = {"unix:/x", "tcp:[::1]:6642"}, .database = "X"}, {}, nullptr));
}

TEST(OvnOptions, AreNeutrons) {
  const auto options =
      OvnOptions::from(Config::parse("[ovs]\novsdb_connection = tcp:127.0.0.1:6640\n[ovn]\n"
                                     "ovn_sb_connection = ssl:a:6642,ssl:b:6642\n"
                                     "ovn_sb_private_key = /k\novn_sb_certificate = /c\n"
                                     "ovn_sb_ca_cert = /ca\novsdb_probe_interval = 5000\n")
                           .value())
          .value();
  EXPECT_THAT(options.local.remotes, ElementsAre("tcp:127.0.0.1:6640"));
  EXPECT_THAT(options.southbound.remotes, ElementsAre("ssl:a:6642", "ssl:b:6642"));
  EXPECT_EQ(options.southbound.private_key, "/k");
  EXPECT_EQ(options.southbound.certificate, "/c");
  EXPECT_EQ(options.southbound.ca_cert, "/ca");
  EXPECT_EQ(options.southbound.probe, std::chrono::seconds(5));
  const auto defaults = OvnOptions::from(Config()).value();
  EXPECT_THAT(defaults.local.remotes, ElementsAre("unix:/var/run/openvswitch/db.sock"));
  EXPECT_TRUE(defaults.southbound.remotes.empty());
}

TEST(OvsdbConnection, EndsWhenTheServerSaysMoreThanThereIsMemoryFor) {
  boost::asio::io_context context{1};
  const auto overload = std::make_shared<http::Overload>(http::OverloadLimits{.memory = 1U << 20U});
  boost::asio::make_service<http::OverloadShare>(context, overload, 1);
  using Local = boost::asio::local::stream_protocol;
  const auto path =
      std::filesystem::temp_directory_path() / ("ovsdb-" + std::to_string(::getpid()) + ".sock");
  std::filesystem::remove(path);
  Local::acceptor acceptor(context, Local::endpoint(path.string()));
  std::thread server([&] {
    Local::socket peer(context);
    acceptor.accept(peer);
    boost::system::error_code error;
    const std::string endless(64U << 10U, 'x');
    boost::asio::write(peer, boost::asio::buffer(std::string("{\"a\": \"")), error);
    for (int i = 0; i < 256 && !error; ++i) {
      boost::asio::write(peer, boost::asio::buffer(endless), error);
    }
  });
  OvsdbRemote remote;
  remote.kind = OvsdbRemote::Kind::unix_socket;
  remote.host = path.string();
  Result<json> received = json();
  {
    const auto connection = std::make_shared<OvsdbConnection>(context, nullptr, OvsdbOptions{});
    boost::asio::co_spawn(
        context,
        [&]() -> boost::asio::awaitable<void> {
          const auto connected = co_await connection->connect(remote);
          EXPECT_TRUE(connected);
          received = co_await connection->receive();
          EXPECT_LE(overload->usage().memory, 1U << 20U);
          connection->close();
        },
        boost::asio::detached);
    context.run();
  }
  server.join();
  std::filesystem::remove(path);
  ASSERT_FALSE(received);
  EXPECT_THAT(received.error().message, HasSubstr("no memory left"));
  EXPECT_EQ(overload->usage().memory, 0U);
}

}  // namespace
}  // namespace metatap::agent
