// SPDX-License-Identifier: Apache-2.0
// What a server does when it has as much as it may have, and what no client can take from others.
#include "http/overload.hpp"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <vector>

#include "http/server.hpp"
#include "http/upstream.hpp"
#include "unit/http/support.hpp"

namespace metatap::http {
namespace {

using namespace metatap::testing;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\n\r\n";

/// Answers when it is let go; /quick at once.
class Held final : public CoroutineHandler {
 public:
  std::atomic<bool> go{false};
  std::atomic<int> asked{0};

 private:
  boost::asio::awaitable<Response> respond(const Request& request) override {
    ++asked;
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
    while (!go && request.target != "/quick") {
      timer.expires_after(5ms);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
    co_return text_response(200, "ok");
  }
};

class OverloadTest : public ::testing::Test {
 protected:
  void start(const OverloadLimits& budget, const Limits& limits = {}) {
    workers_.emplace(1, budget);
    server_.emplace(*workers_, handler_, limits);
    workers_->start();
    ASSERT_TRUE(server_->listen(UnixEndpoint{.path = directory_.file("s.sock")}));
    ASSERT_TRUE(server_->listen(TcpEndpoint{"127.0.0.1", 0}));
  }
  Client client() const { return Client::local(directory_.file("s.sock")); }
  [[nodiscard]] Overload::Usage usage() const { return workers_->overload()->usage(); }

  TemporaryDirectory directory_;
  Held handler_;
  std::optional<Workers> workers_;
  std::optional<Server> server_;
};

TEST_F(OverloadTest, ARequestTooManyIsToldToComeBack) {
  start({.requests = 2});
  Client first = client(), second = client(), third = client();
  first.send(kGet);
  second.send(kGet);
  ASSERT_TRUE(eventually([&] { return handler_.asked == 2; }));
  EXPECT_EQ(usage().requests_in_flight, 2U);
  third.send(kGet);
  const auto refused = third.read_all();
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_TRUE(third.ended());
  EXPECT_EQ(usage().requests_refused, 1U);
  handler_.go = true;
  EXPECT_EQ(status_of(first.read_response()), 200U);
  EXPECT_EQ(status_of(second.read_response()), 200U);
  EXPECT_TRUE(eventually([&] { return usage().requests_in_flight == 0; }));
  Client again = client();
  again.send(kGet);
  EXPECT_EQ(status_of(again.read_response()), 200U);
}

TEST_F(OverloadTest, NewConnectionsWaitWhenThereAreAsManyAsThereMayBe) {
  handler_.go = true;
  start({.connections = 10});
  std::vector<Client> half;
  for (int i = 0; i < 10; ++i) {
    half.push_back(client());
    half.back().send("GET / HT");
  }
  ASSERT_TRUE(eventually([&] { return usage().connections == 10; }));
  Client waiting = client();
  waiting.send(kGet);
  EXPECT_EQ(waiting.read_response(300ms), "");
  EXPECT_FALSE(waiting.ended());
  EXPECT_GE(usage().accepts_put_off, 1U);
  EXPECT_EQ(usage().connections, 10U);
  half[0].send("TP/1.1\r\n\r\n");
  EXPECT_THAT(half[0].read_all(), HasSubstr("Connection: close"));
  EXPECT_EQ(status_of(waiting.read_response()), 200U);
}

TEST_F(OverloadTest, KeepAliveEndsWhenConnectionsAreFewAndWhoRestsMakesRoom) {
  handler_.go = true;
  start({.connections = 10});
  std::vector<Client> open;
  for (int i = 0; i < 8; ++i) {
    open.push_back(client());
    open.back().send(kGet);
    EXPECT_THAT(open.back().read_response(), Not(HasSubstr("Connection: close"))) << i;
  }
  Client ninth = client();
  ninth.send(kGet);
  EXPECT_THAT(ninth.read_all(), HasSubstr("Connection: close"));
  EXPECT_EQ(usage().keep_alive_ended, 1U);
  std::vector<Client> half;
  for (int i = 0; i < 2; ++i) {
    half.push_back(client());
    half.back().send("GET / HT");
  }
  ASSERT_TRUE(eventually([&] { return usage().connections == 10; }));
  Client next = client();
  next.send(kGet);
  EXPECT_EQ(status_of(next.read_response()), 200U);
  EXPECT_EQ(open[0].read_all(), "");
  EXPECT_TRUE(open[0].ended());
}

TEST_F(OverloadTest, ARequestForWhichThereIsNoMemoryIsToldToComeBack) {
  handler_.go = true;
  Limits limits;
  limits.body = 1 << 20;
  start({.memory = 100'000}, limits);
  const auto post = [&](std::size_t size) {
    Client one = client();
    one.send("POST / HTTP/1.1\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n");
    one.send(std::string(size, 'x'));
    return one.read_response();
  };
  const auto refused = post(300'000);
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_EQ(usage().memory_refused, 1U);
  EXPECT_TRUE(eventually([&] { return usage().memory == 0; })) << usage().memory;
  EXPECT_EQ(status_of(post(50'000)), 200U);
  EXPECT_TRUE(eventually([&] { return usage().memory == 0; })) << "kept for the next request";
}

TEST_F(OverloadTest, AnAnswerForWhichThereIsNoMemoryIsToldToComeBack) {
  FunctionHandler large([](const Request& request) {
    return text_response(200, std::string(request.target == "/large" ? 1 << 20 : 50'000, 'x'));
  });
  Workers elsewhere(1);
  Server origin(elsewhere, large);
  elsewhere.start();
  ASSERT_TRUE(origin.listen(UnixEndpoint{.path = directory_.file("origin.sock")}));
  const auto upstream =
      Upstream::create({.endpoint = UnixEndpoint{.path = directory_.file("origin.sock")}});
  ASSERT_TRUE(upstream);
  Workers workers(1, {.memory = 200'000});
  Server front(workers, **upstream);
  workers.start();
  ASSERT_TRUE(front.listen(TcpEndpoint{"127.0.0.1", 0}));
  const auto get = [&](const std::string& target) {
    Client one = Client::tcp(front.port());
    one.send("GET " + target + " HTTP/1.1\r\nConnection: close\r\n\r\n");
    return one.read_all();
  };
  EXPECT_EQ(status_of(get("/")), 200U);
  const auto refused = get("/large");
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(refused, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_EQ(status_of(get("/")), 200U);
  EXPECT_EQ((*upstream)->counters().unavailable, 1U);
  EXPECT_TRUE(eventually([&] { return workers.overload()->usage().memory == 0; }));
}

TEST_F(OverloadTest, AServerHasNoMoreConnectionsThanItMay) {
  handler_.go = true;
  start({}, {.connections = 4});
  std::vector<Client> open;
  for (int i = 0; i < 4; ++i) {
    open.push_back(client());
    open.back().send("GET / HT");
  }
  ASSERT_TRUE(eventually([&] { return server_->counters().open == 4; }));
  Client waiting = client();
  waiting.send(kGet);
  EXPECT_EQ(waiting.read_response(300ms), "");
  EXPECT_EQ(server_->counters().open, 4U);
  open.pop_back();
  EXPECT_EQ(status_of(waiting.read_response()), 200U);
}

/// A connection from another of the loopback's addresses.
Client from(const char* address, std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in local{}, remote{};
  local.sin_family = remote.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &local.sin_addr);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&local), sizeof local), 0);
  remote.sin_port = htons(port);
  remote.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&remote), sizeof remote), 0);
  return Client(std::move(fd));
}

TEST_F(OverloadTest, OneAddressLeavesRoomForOthers) {
  handler_.go = true;
  start({}, {.connections = 32});
  std::vector<Client> greedy;
  std::optional<std::string> refused;
  for (int i = 0; i < 60 && !refused; ++i) {
    greedy.push_back(from("127.0.0.2", server_->port()));
    greedy.back().send(kGet);
    if (const auto answer = greedy.back().read_response(); status_of(answer) != 200) {
      refused = answer;
    }
  }
  ASSERT_TRUE(refused);
  EXPECT_LE(greedy.size(), 17U) << "half of it";
  EXPECT_THAT(*refused, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(*refused, HasSubstr("Retry-After: 1\r\n"));
  for (int i = 0; i < 60; ++i) {  // nor do those that are turned away take all that is left
    greedy.push_back(from("127.0.0.2", server_->port()));
    greedy.back().send("GET / HT");
  }
  Client other = from("127.0.0.3", server_->port());
  other.send(kGet);
  EXPECT_EQ(status_of(other.read_response()), 200U);
}

TEST_F(OverloadTest, EmptyLinesDoNotKeepAConnection) {
  handler_.go = true;
  start({}, {.idle = 600ms});
  Client one = client();
  one.send(kGet);
  EXPECT_EQ(status_of(one.read_response()), 200U);
  bool ended = false;
  for (int i = 0; i < 30 && !ended; ++i) {
    one.send("\r\n");
    one.read_all(100ms);
    ended = one.ended();
  }
  EXPECT_TRUE(ended);
}

TEST_F(OverloadTest, EmptyLinesCountAsTheHead) {
  handler_.go = true;
  start({}, {.head = 512});
  Client few = client();
  few.send("\r\n\r\n" + std::string(kGet));
  EXPECT_EQ(status_of(few.read_response()), 200U);
  Client many = client();
  for (int i = 0; i < 64; ++i) {
    many.send("\r\n\r\n\r\n\r\n");
  }
  EXPECT_EQ(status_of(many.read_response()), 431U);
  Client both = client();
  std::string head = "GET / HTTP/1.1\r\nA: ";
  head += std::string(300, 'a') + "\r\n\r\n";
  both.send(head);
  EXPECT_EQ(status_of(both.read_response()), 200U);
  both.send(std::string(300, '\n') + head);
  EXPECT_EQ(status_of(both.read_response()), 431U);
}

TEST_F(OverloadTest, AHeadHasLessTimeThanABody) {
  handler_.go = true;
  start({}, {.body = 100, .head_within = 300ms, .request = 20s});
  Client half = client(), slow = client();
  slow.send("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na");
  half.send("GET / HT");
  EXPECT_EQ(status_of(half.read_all()), 408U);
  slow.send("b");
  EXPECT_EQ(status_of(slow.read_response()), 200U);
}

TEST_F(OverloadTest, TheOperatorGetsInWhenEverythingIsUsedUp) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's own checks need descriptors (a pipe)";
#endif
  handler_.go = true;
  start({.connections = 1, .requests = 1, .memory = 1}, {.for_operator = true});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  for (int round = 0; round < 10; ++round) {  // each ends before the next
    std::vector<Client> clients;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(client());
    }
    std::vector<UniqueFd> filling;
    rlimit low = before;
    low.rlim_cur = 200;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int fd = 0; (fd = ::dup(clients[0].fd())) >= 0;) {
      filling.emplace_back(fd);
    }
    for (Client& one : clients) {
      one.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    }
    for (Client& one : clients) {
      EXPECT_EQ(status_of(one.read_response()), 200U) << round;
    }
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  }
}

TEST(OverloadLimits, FitTheDescriptors) {
  const OverloadLimits limits;
  EXPECT_EQ(limits.within(262'144).connections, limits.connections);
  EXPECT_EQ(limits.within(262'144).requests, limits.requests);
  for (const std::size_t descriptors : {64U, 256U, 1024U, 4096U, 65'536U}) {
    const auto fitting = limits.within(descriptors);
    EXPECT_LE(fitting.connections + fitting.requests, descriptors - descriptors / 4 + 1);
    EXPECT_GE(fitting.connections, std::min<std::size_t>(descriptors / 2, limits.connections));
  }
}

TEST(OverloadLimits, OfTheConfiguration) {
  const auto read = [](const std::string& text) {
    return OverloadLimits::from(*Config::parse(text, "test.conf"));
  };
  const auto set =
      read("[DEFAULT]\nmax_connections = 100\nmax_requests_in_flight = 7\nmax_memory = 3\n");
  ASSERT_TRUE(set);
  EXPECT_EQ(set->connections, 100U);
  EXPECT_EQ(set->requests, 7U);
  EXPECT_EQ(set->memory, 3U << 20U);
  EXPECT_FALSE(read("[DEFAULT]\nmax_memory = 0\n"));
}

}  // namespace
}  // namespace metatap::http
