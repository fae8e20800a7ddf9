// SPDX-License-Identifier: Apache-2.0
#include "http/upstream.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <fstream>
#include <future>
#include <mutex>
#include <vector>

#include "http/coroutine.hpp"
#include "http/server.hpp"
#include "unit/http/support.hpp"
#include "unit/waiting.hpp"

namespace metatap::http {
namespace {

using namespace metatap::testing;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A server that does to each connection what it is told.
class Script {
 public:
  using Act = std::function<void(int fd, int number)>;
  Script(UniqueFd listener, Act act) : listener_(std::move(listener)), act_(std::move(act)) {
    ::fcntl(listener_.get(), F_SETFL, 0);  // blocking
    thread_ = std::thread([this] {
      for (int number = 0;; ++number) {
        UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd || stopped_) {
          return;
        }
        act_(fd.get(), number);
      }
    });
  }
  ~Script() {
    stopped_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;

  /// What one read() gives.
  static std::string one_read(int fd) {
    std::string text(64 * 1024, '\0');
    const ssize_t got = ::recv(fd, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  static void say(int fd, std::string_view text) {
    ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

 private:
  UniqueFd listener_;
  Act act_;
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Each case twice: asked as sessions do it, and from a coroutine.
class UpstreamTest : public ::testing::TestWithParam<bool> {
 protected:
  UpstreamTest() { options_.endpoint = UnixEndpoint{.path = directory_.file("up.sock")}; }

  void script(Script::Act act, int backlog = 64) {
    script_.emplace(
        std::move(*listen_unix(UnixEndpoint{.path = directory_.file("up.sock")}, backlog)),
        std::move(act));
  }
  void create() {
    auto made = Upstream::create(options_);
    ASSERT_TRUE(made) << made.error().message;
    upstream_ = std::move(*made);
  }
  Response ask(const Request& request = {}) {
    if (!upstream_) {
      create();
    }
    if (!GetParam()) {
      return metatap::ask(*upstream_, request, context_);
    }
    auto answer =
        boost::asio::co_spawn(context_, co_ask(*upstream_, request), boost::asio::use_future);
    context_.restart();
    while (answer.wait_for(0s) != std::future_status::ready) {
      context_.run_one();
    }
    return answer.get();
  }

  TemporaryDirectory directory_;
  UpstreamOptions options_;
  std::optional<Script> script_;
  boost::asio::io_context context_{1};  // goes first, with its pools, so that the script can end
  std::unique_ptr<Upstream> upstream_;
};
INSTANTIATE_TEST_SUITE_P(Asked, UpstreamTest, ::testing::Bool(), [](const auto& test) {
  return test.param ? "from_a_coroutine" : "plainly";
});

TEST_P(UpstreamTest, SendsOneRequestInOneWrite) {
  std::string seen;
  script([&](int fd, int) {
    seen = Script::one_read(fd);
    Script::say(fd,
                "HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nRetry-After: 7\r\nServer: x\r\n"
                "Content-Length: 2\r\n\r\nok");
  });
  const Header headers[] = {{"Host", "169.254.169.254"}, {"X-Forwarded-For", "10.0.0.1"}};
  const std::string body(3000, 'b');
  const auto response = ask({.method = "POST", .target = "/a?b", .headers = headers, .body = body});
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.content_type, "a/b");
  EXPECT_EQ(response.body.str(), "ok");
  EXPECT_THAT(response.headers, ::testing::ElementsAre(::testing::Pair("Retry-After", "7")));
  EXPECT_EQ(seen,
            "POST /a?b HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Forwarded-For: 10.0.0.1\r\n"
            "Content-Length: 3000\r\n\r\n" +
                body);
}

TEST_P(UpstreamTest, CannotBeMadeToSplitARequest) {
  std::string seen;
  script([&](int fd, int) {
    seen = Script::one_read(fd);
    Script::say(fd, kOk);
  });
  const Header headers[] = {{"Accept", "a\r\nX-Forwarded-For: 10.9.9.9"}};
  ask({.headers = headers});
  EXPECT_EQ(seen, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

TEST_P(UpstreamTest, KeepsConnections) {
  std::atomic<int> connections{0};
  script([&](int fd, int) {
    ++connections;
    while (!Script::one_read(fd).empty()) {
      Script::say(fd, kOk);
    }
  });
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(ask().status, 200U);
  }
  EXPECT_EQ(connections, 1);
  EXPECT_EQ(upstream_->counters().reused, 4U);
}

TEST_P(UpstreamTest, RepeatsWhatFoundAClosedConnection) {
  script([&](int fd, int number) {  // closes when asked a second time
    Script::one_read(fd);
    Script::say(fd, kOk);
    if (number < 3) {
      Script::one_read(fd);
    }
  });
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(ask().status, 200U);
  }
  EXPECT_EQ(upstream_->counters().retried, 3U);
  EXPECT_EQ(ask({.method = "POST", .body = "x"}).status, 200U);
  EXPECT_EQ(upstream_->counters().retried, 3U);  // it took a fresh one
}

TEST_P(UpstreamTest, ClosesEachConnectionWhenTold) {
  std::string seen;
  options_.keep_alive = false;
  script([&](int fd, int) {
    seen = Script::one_read(fd);
    Script::say(fd, "HTTP/1.0 200 OK\n\nto the end");
  });
  EXPECT_EQ(ask().body.str(), "to the end");
  EXPECT_THAT(seen, HasSubstr("Connection: close\r\n"));
}

TEST_P(UpstreamTest, RefusesWhatNeutronsAgentCouldNotRead) {
  options_.max_request = 4096;
  script([&](int fd, int) { Script::say(fd, kOk); });
  const std::string large(4096, 'a');
  const Header headers[] = {{"A", large}};
  EXPECT_EQ(ask({.method = "POST", .body = large}).status, 413U);
  EXPECT_EQ(ask({.target = "/" + large}).status, 414U);
  EXPECT_EQ(ask({.headers = headers}).status, 431U);
}

TEST_P(UpstreamTest, SaysWhenNobodyIsThere) {
  auto response = ask();
  EXPECT_EQ(response.status, 503U);
  EXPECT_THAT(response.headers, ::testing::ElementsAre(::testing::Pair("Retry-After", "1")));
  {
    UniqueFd stale(std::move(*listen_unix(std::get<UnixEndpoint>(options_.endpoint))));
  }
  EXPECT_EQ(ask().status, 503U);  // the file without a listener
  EXPECT_EQ(upstream_->counters().unavailable, 2U);
}

TEST_P(UpstreamTest, WaitsNoLongerThanItsDeadline) {
  options_.deadline = 300ms;
  std::vector<int> held;
  script([&](int fd, int) { held.push_back(::dup(fd)); });
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(ask().status, 504U);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 900ms);
  EXPECT_EQ(upstream_->counters().timeouts, 1U);
  script_.reset();
  for (const int fd : held) {
    ::close(fd);
  }
}

TEST_P(UpstreamTest, TimesOutAnAnswerThatTrickles) {
  options_.deadline = 300ms;
  std::atomic<bool> done{false};
  script([&](int fd, int) {
    Script::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    for (int i = 0; i < 200 && !done; ++i) {
      Script::say(fd, "x");
      std::this_thread::sleep_for(10ms);
    }
  });
  EXPECT_EQ(ask().status, 504U);
  done = true;
  script_.reset();
}

TEST_P(UpstreamTest, CallsNonsenseInvalid) {
  const std::string_view answers[] = {"", "garbage\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
                                      "HTTP/1.1 404 Not Found\nContent-Length: 0\n"};
  script([&](int fd, int number) {
    Script::one_read(fd);
    Script::say(fd, answers[static_cast<std::size_t>(number)]);
  });
  for (std::size_t i = 0; i < std::size(answers); ++i) {
    EXPECT_EQ(ask().status, 502U) << i;
  }
  EXPECT_EQ(upstream_->counters().invalid, std::size(answers));
}

TEST_P(UpstreamTest, WaitsForAFullBacklog) {
  std::promise<void> go;
  auto gone = go.get_future();
  std::atomic<int> served{0};
  script(
      [&](int fd, int number) {
        if (number == 0) {
          gone.wait();
        }
        Script::one_read(fd);
        Script::say(fd, kOk);
        ++served;
      },
      0);
  options_.keep_alive = false;
  create();
  std::vector<std::future<Response>> answers;
  const Request request;
  for (int i = 0; i < 20; ++i) {
    answers.push_back(
        boost::asio::co_spawn(context_, co_ask(*upstream_, request), boost::asio::use_future));
  }
  std::thread release([&] {
    std::this_thread::sleep_for(100ms);
    go.set_value();
  });
  for (auto& answer : answers) {
    while (answer.wait_for(0s) != std::future_status::ready) {
      context_.restart();
      context_.run_one_for(10ms);
    }
    EXPECT_EQ(answer.get().status, 200U);
  }
  release.join();
  script_.reset();  // before what it refers to
}

TEST_P(UpstreamTest, FollowsARestartedServer) {
  Workers workers(1);
  FunctionHandler handler([](const Request&) { return text_response(200, "hi"); });
  workers.start();
  {
    Server server(workers, handler);
    ASSERT_TRUE(server.listen(options_.endpoint));
    EXPECT_EQ(ask().status, 200U);
  }
  EXPECT_EQ(ask().status, 503U);
  Server server(workers, handler);
  ASSERT_TRUE(server.listen(options_.endpoint));
  EXPECT_EQ(ask().status, 200U);
}

TEST_P(UpstreamTest, SpeaksTcpByNameAndAddress) {
  Workers workers(1);
  FunctionHandler handler([](const Request& request) {
    return text_response(200, std::string(request.peer->address));
  });
  workers.start();
  Server server(workers, handler);
  ASSERT_TRUE(server.listen(TcpEndpoint{"127.0.0.1", 0}));
  for (const char* host : {"127.0.0.1", "localhost"}) {
    options_.endpoint = TcpEndpoint{host, server.port()};
    create();
    EXPECT_EQ(ask().body.str(), "127.0.0.1");
  }
  server.stop(0ms);
  options_.endpoint = TcpEndpoint{"127.0.0.1", server.port()};
  create();
  EXPECT_EQ(ask().status, 503U);
}

TEST_P(UpstreamTest, AnswersHeadWithTheLengthOnly) {
  script([&](int fd, int) {
    while (!Script::one_read(fd).empty()) {
      Script::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
    }
  });
  for (int i = 0; i < 2; ++i) {
    const auto response = ask({.method = "HEAD"});
    EXPECT_EQ(response.content_length, 1234U);
    EXPECT_EQ(response.body.size(), 0U);
  }
}

TEST_P(UpstreamTest, CarriesLargeBodiesExactly) {
  std::string large(4 << 20, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) {
    large[i] = static_cast<char>(i * 7 >> 2);
  }
  script([&](int fd, int) {
    Script::one_read(fd);
    Script::say(fd,
                "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(large.size()) + "\r\n\r\n");
    Script::say(fd, large);
  });
  EXPECT_TRUE(ask().body.str() == large);
  script_.reset();
}

TEST_P(UpstreamTest, CountsWhatItReuses) {
  script([](int fd, int) {
    while (!Script::one_read(fd).empty()) {
      Script::say(fd, kOk);
    }
  });
  options_.idle = 250ms;  // the script serves one connection at a time
  ask();
  ask();
  ask({.method = "POST", .body = "x"});
  EXPECT_EQ(upstream_->counters().requests, 3U);
  EXPECT_EQ(upstream_->counters().reused, 1U);
  EXPECT_EQ(upstream_->counters().connects, 2U);
}

/// Whether it waits for a connection that is being made or for an answer over one.
TEST_P(UpstreamTest, WhoWaitsIsToldOnceWhenTheContextEnds) {
  script([](int fd, int) {
    Script::one_read(fd);
    Script::say(fd, kOk);
    while (!Script::one_read(fd).empty()) {
    }
  });
  create();
  const Request request;
  for (const bool pooled : {false, true}) {
    Waiting waiting;
    {
      boost::asio::io_context context{1};
      if (pooled) {
        EXPECT_EQ(metatap::ask(*upstream_, request, context).status, 200U);
      }
      ASSERT_FALSE(upstream_->ask(request, context, waiting));
      EXPECT_FALSE(waiting.result);
    }
    ASSERT_TRUE(waiting.result);
    EXPECT_EQ(waiting.result->status, 503U);
    EXPECT_EQ(waiting.times, 1);
  }
}

TEST_P(UpstreamTest, NamesATlsFileItCannotRead) {
  options_.endpoint = TcpEndpoint{"127.0.0.1", 1};
  options_.tls = TlsOptions{.ca_file = directory_.file("none.pem")};
  const auto made = Upstream::create(options_);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("none.pem"));
}

}  // namespace
}  // namespace metatap::http
