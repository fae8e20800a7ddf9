// SPDX-License-Identifier: Apache-2.0
// A server that says what makes no sense: the client says so, leaves it, and comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "agent/ovsdb_client.hpp"
#include "base/json_text.hpp"

namespace metatap::agent {
namespace {

namespace asio = boost::asio;
using nlohmann::json;
using testing::HasSubstr;
using testing::UnorderedElementsAre;
using namespace std::chrono_literals;

json row_named(const std::string& kind, const std::string& name) {
  return {{kind, {{"name", name}}}};
}

/// Answers each client as an ovsdb-server would until all rows are told, then says `nonsense` to
/// the first `times` of them.
class Server {
 public:
  Server(std::string nonsense, int times)
      : nonsense_(std::move(nonsense)),
        times_(times),
        directory_(std::filesystem::temp_directory_path() /
                   ("metatap-ovsdb-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(directory_);
    acceptor_.emplace(context_, asio::local::stream_protocol::endpoint(path()));
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    stopping_ = true;
    asio::io_context here;
    asio::local::stream_protocol::socket last(here);
    boost::system::error_code ignored;
    last.connect(asio::local::stream_protocol::endpoint(path()), ignored);
    last.close(ignored);
    thread_.join();
    std::filesystem::remove_all(directory_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// It has said what it had to say.
  [[nodiscard]] bool sober() const { return times_ == 0; }
  [[nodiscard]] std::string path() const { return (directory_ / "db.sock").string(); }

 private:
  void serve() {
    while (!stopping_) {
      asio::local::stream_protocol::socket client(context_);
      acceptor_->accept(client);
      JsonSplitter splitter;
      std::array<char, 4096> bytes{};
      boost::system::error_code error;
      while (const auto size = client.read_some(asio::buffer(bytes), error)) {
        const auto texts = splitter.take({bytes.data(), size});
        for (const auto& text : *texts) {
          answer(client, json::parse(text));
        }
      }
    }
  }

  void answer(asio::local::stream_protocol::socket& client, const json& question) {
    json reply = {{"id", question["id"]}, {"error", nullptr}, {"result", json::object()}};
    bool told = false;
    if (question["method"] == "get_schema") {
      reply["result"] = {{"tables", {{"T", {{"columns", {{"name", {{"type", "string"}}}}}}}}}};
    } else if (question["params"][0] == "_Server") {
      reply["error"] = "unknown database";
    } else if (question["method"] == "monitor_cond") {
      reply["result"] = {
          {"T", {{"1", row_named("initial", "a")}, {"2", row_named("initial", "b")}}}};
      told = true;
    }
    boost::system::error_code error;
    asio::write(client, asio::buffer(reply.dump()), error);
    if (told && times_ > 0) {
      --times_;
      asio::write(client, asio::buffer(nonsense_), error);
    }
  }

  const std::string nonsense_;
  std::atomic<int> times_;
  const std::filesystem::path directory_;
  asio::io_context context_;
  std::optional<asio::local::stream_protocol::acceptor> acceptor_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

class Client {
 public:
  Client(const Server& server, OvsdbClient::Callback changed) {
    OvsdbOptions options;
    options.remotes = {"unix:" + server.path()};
    options.database = "D";
    options.first_back_off = 10ms;
    std::map<std::string, OvsdbMonitor> tables;
    tables["T"].columns = {"name"};
    client_ = *OvsdbClient::create(context_, options, std::move(tables), std::move(changed));
    client_->start();
  }
  /// Runs until it is so.
  bool until(const std::function<bool(const OvsdbClient::Health&)>& so) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!so(client_->health()) && std::chrono::steady_clock::now() < end) {
      context_.run_one_for(100ms);
    }
    return so(client_->health());
  }

 private:
  asio::io_context context_;
  std::unique_ptr<OvsdbClient> client_;
};

class Nonsense : public testing::TestWithParam<const char*> {};

TEST_P(Nonsense, IsSaidAndTheConnectionMadeAnew) {
  const Server server(GetParam(), 2);
  Client client(server, [](const OvsdbClient::Changes&) {});
  std::string said;
  ASSERT_TRUE(client.until([&](const OvsdbClient::Health& health) {
    said = health.connected ? said : health.last_error;
    return !said.empty();
  }));
  EXPECT_TRUE(client.until([&](const OvsdbClient::Health& health) {
    return health.connected && server.sober();
  })) << said;
}

INSTANTIATE_TEST_SUITE_P(
    Ovsdb, Nonsense,
    testing::Values(
        "what is this", R"([1, 2])", R"({"id": 77, "error": {"error": 5, "details": []}})",
        R"({"id": null, "error": 5})", R"({"id": {}, "error": {"details": 1}, "result": null})",
        R"({"method": "update2", "params": 5, "id": null})",
        R"({"method": "update2", "params": ["metatap"], "id": null})",
        R"({"method": "update2", "params": ["metatap", 5], "id": null})",
        R"({"method": "update2", "params": ["metatap", {"T": 5}], "id": null})",
        R"({"method": "update2", "params": ["metatap", {"T": {"1": "gone"}}], "id": null})",
        R"({"method": "update2", "params": ["metatap", {"T": {"1": {"insert": [1]}}}], "id": null})",
        R"({"method": "update2", "params": ["metatap-server", "x"], "id": null})",
        R"({"method": "monitor_canceled", "params": [{}], "id": null})"));

TEST(OvsdbClient, WhoThrowsIsToldOfAllRowsAgain) {
  const Server server("", 0);
  OvsdbClient::Changes told;
  int calls = 0;
  Client client(server, [&](const OvsdbClient::Changes& changes) {
    if (++calls == 1) {
      throw std::runtime_error("the follower fails");
    }
    told = changes;
  });
  std::string said;
  ASSERT_TRUE(client.until([&](const OvsdbClient::Health& health) {
    said = health.connected ? said : health.last_error;
    return health.connected && health.connections == 2;
  }));
  EXPECT_THAT(said, HasSubstr("the follower fails"));
  EXPECT_THAT(told, UnorderedElementsAre(std::pair("T", "1"), std::pair("T", "2")));
}

}  // namespace
}  // namespace metatap::agent
