// SPDX-License-Identifier: Apache-2.0
#include "http/server.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <ctime>
#include <future>
#include <stdexcept>

#include "unit/http/support.hpp"

namespace metatap::http {
namespace {

using namespace metatap::testing;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

/// Says what it was asked.
Response echo(const Request& request) {
  std::string text = std::string(request.method) + " " + std::string(request.target) + "\n";
  for (const Header& header : request.headers) {
    text += std::string(header.name) + "=" + std::string(header.value) + "\n";
  }
  text += "body=" + std::string(request.body);
  return text_response(200, text);
}

class ServerTest : public ::testing::TestWithParam<bool> {
 protected:
  void start(Limits limits = {}, FunctionHandler::Function function = echo) {
    handler_.emplace(std::move(function), GetParam());
    server_.emplace(workers_, *handler_, limits);
    workers_.start();
    ASSERT_TRUE(server_->listen(TcpEndpoint{"127.0.0.1", 0}));
  }
  Client client() { return Client::tcp(server_->port()); }
  std::string exchange(std::string_view request) {
    Client one = client();
    one.send(request);
    one.finish();
    return one.read_all();
  }

  Workers workers_{2};
  std::optional<FunctionHandler> handler_;
  std::optional<Server> server_;
};
INSTANTIATE_TEST_SUITE_P(FastAndSlow, ServerTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "handle" : "answer"; });

TEST_P(ServerTest, AnswersAndKeepsTheConnection) {
  start();
  Client one = client();
  for (int i = 0; i < 3; ++i) {
    one.send("GET /openstack/latest HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
    const auto response = one.read_response();
    EXPECT_THAT(response, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_EQ(body_of(response), "GET /openstack/latest\nHost=169.254.169.254\nbody=");
  }
  EXPECT_FALSE(one.ended());
}

TEST_P(ServerTest, AStageThatThrowsHasAnswered500) {
  start({}, [](const Request&) -> Response { throw std::runtime_error("broken"); });
  Client one = client();
  for (int i = 0; i < 2; ++i) {
    one.send("GET / HTTP/1.1\r\n\r\n");
    EXPECT_THAT(one.read_response(), StartsWith("HTTP/1.1 500 "));
  }
  EXPECT_FALSE(one.ended());
}

TEST(ServerEnd, ComesWhileARequestWaits) {
  class Endless final : public CoroutineHandler {
   public:
    std::atomic<int> asked{0};

   private:
    boost::asio::awaitable<Response> respond(const Request&) override {
      ++asked;
      boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, 1h);
      co_await timer.async_wait(boost::asio::use_awaitable);
      co_return text_response(200, "late");
    }
  } handler;
  std::optional<Client> client;
  {
    Workers workers(1);
    Server server(workers, handler);
    workers.start();
    ASSERT_TRUE(server.listen(TcpEndpoint{"127.0.0.1", 0}));
    client = Client::tcp(server.port());
    client->send("GET / HTTP/1.1\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return handler.asked == 1; }));
    server.stop(0ms);
  }
  EXPECT_EQ(client->read_all(), "");
  EXPECT_TRUE(client->ended());
}

TEST_P(ServerTest, SaysWhatTimeItIs) {
  start();
  const auto before = std::time(nullptr);
  const auto response = exchange("GET / HTTP/1.1\r\n\r\n");
  const auto at = response.find("Date: ");
  ASSERT_NE(at, std::string::npos);
  tm parts{};
  ASSERT_NE(::strptime(response.c_str() + at + 6, "%a, %d %b %Y %H:%M:%S GMT\r\n", &parts),
            nullptr);
  EXPECT_NEAR(static_cast<double>(::timegm(&parts)), static_cast<double>(before), 2);
}

TEST_P(ServerTest, SpeaksHttp10) {
  start();
  EXPECT_THAT(exchange("GET / HTTP/1.0\r\n\r\n"), HasSubstr("Connection: close\r\n"));
  Client one = client();
  one.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(one.read_response(), HasSubstr("Connection: keep-alive\r\n"));
  one.send("GET /two HTTP/1.0\r\n\r\n");
  EXPECT_THAT(one.read_all(), HasSubstr("GET /two"));
}

TEST_P(ServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  Client one = client();
  std::string all;
  for (int i = 0; i < 300; ++i) {
    all += "GET /" + std::to_string(i) + " HTTP/1.1\r\n\r\n";
  }
  one.send(all);
  for (int i = 0; i < 300; ++i) {
    EXPECT_THAT(body_of(one.read_response()), StartsWith("GET /" + std::to_string(i) + "\n"));
  }
}

TEST_P(ServerTest, ReadsBodiesHoweverTheyCome) {
  start();
  const std::string head = "POST /openstack/2013-10-17/password HTTP/1.1\r\nHost: x\r\n";
  EXPECT_THAT(exchange(head + "Content-Length: 5\r\n\r\nhello"), HasSubstr("body=hello"));
  EXPECT_THAT(exchange(head + "Transfer-Encoding: chunked\r\n\r\n"
                              "3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"),
              HasSubstr("body=hello"));

  Client one = client();
  one.send(head + "Content-Length: 5\r\n\r\nhe");
  std::this_thread::sleep_for(50ms);
  one.send("llo");
  EXPECT_THAT(one.read_response(), HasSubstr("body=hello"));

  // Late, chunked, byte by byte, with the next request right behind it.
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n" +
                              "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\nGET /next HTTP/1.1\r\n\r\n";
  for (const char byte : chunked) {
    one.send({&byte, 1});
  }
  EXPECT_THAT(one.read_response(), HasSubstr("body=abc"));
  EXPECT_THAT(one.read_response(), HasSubstr("GET /next"));
}

TEST_P(ServerTest, ReadsTheLargestBodyInOneByteChunks) {
  start();
  std::string request = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string body;
  for (int i = 0; i < 8192; ++i) {
    body += static_cast<char>('a' + i % 26);
    request += "1\r\n" + body.substr(body.size() - 1) + "\r\n";
  }
  const auto response = exchange(request + "0\r\n\r\n");
  EXPECT_THAT(response, HasSubstr("body=" + body));
}

TEST_P(ServerTest, InvitesABodyThatWaitsForIt) {
  start();
  Client one = client();
  one.send("POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(one.read_response(), "HTTP/1.1 100 Continue\r\n\r\n");
  one.send("hello");
  EXPECT_THAT(one.read_response(), HasSubstr("body=hello"));
}

TEST_P(ServerTest, TakesAnyMethodTargetAndByte) {
  start();
  EXPECT_THAT(exchange("BREW /pot HTTP/1.1\r\n\r\n"), HasSubstr("BREW /pot\n"));
  EXPECT_THAT(exchange("GET //a/../%2e%2e/b?x=/%00 HTTP/1.1\r\n\r\n"),
              HasSubstr("GET //a/../%2e%2e/b?x=/%00\n"));
  EXPECT_THAT(exchange("GET HTTP://169.254.169.254:80/latest?a HTTP/1.1\r\n\r\n"),
              HasSubstr("GET /latest?a\n"));
  EXPECT_THAT(exchange("GET http://169.254.169.254 HTTP/1.1\r\n\r\n"), HasSubstr("GET /\n"));
  EXPECT_THAT(exchange("GET http://169.254.169.254?a HTTP/1.1\r\n\r\n"), HasSubstr("GET /\n"));
  EXPECT_THAT(exchange("OPTIONS * HTTP/1.1\r\n\r\n"), HasSubstr("OPTIONS /\n"));
  EXPECT_THAT(exchange("GET /\xff\xfe HTTP/1.1\r\nA: \xc3\x28\r\n\r\n"),
              HasSubstr("GET /\xff\xfe\nA=\xc3\x28\n"));
  EXPECT_THAT(exchange("\r\n\r\nGET /after-empty-lines HTTP/1.1\r\n\r\n"),
              HasSubstr("GET /after-empty-lines\n"));
}

TEST_P(ServerTest, LeavesTheBodyOutForHead) {
  start();
  Client one = client();
  one.send("HEAD / HTTP/1.1\r\n\r\n");
  const auto head = one.read_all(100ms);
  EXPECT_THAT(head, HasSubstr("Content-Length: 12\r\n"));
  EXPECT_THAT(head, ::testing::EndsWith("\r\n\r\n"));
}

struct Refusal {
  const char* name;
  std::string request;
  unsigned status;
};
TEST_P(ServerTest, RefusesWhatIsWrongOrTooLarge) {
  start();
  const std::string large(9000, 'a');
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 101; ++i) {
    many += "A: b\r\n";
  }
  const Refusal cases[] = {
      {"not HTTP", "hello there\r\n\r\n", 400},
      {"TLS", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), 400},
      {"version", "GET / HTTP/2.0\r\n\r\n", 400},
      {"0.9", "GET /\r\n\r\n", 400},
      {"no slash", "GET latest HTTP/1.1\r\n\r\n", 400},
      {"only a query", "GET ?latest HTTP/1.1\r\n\r\n", 400},
      {"asterisk", "GET * HTTP/1.1\r\n\r\n", 400},
      {"tunnel", "CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n", 400},
      {"another scheme", "GET ftp://169.254.169.254/ HTTP/1.1\r\n\r\n", 400},
      {"bare LF", "GET / HTTP/1.1\n\n", 400},
      {"NUL in a value", std::string("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 26), 400},
      {"space before the colon", "GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc", 400},
      {"folding", "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400},
      {"folding, first line empty", "GET / HTTP/1.1\r\nA:\r\n c\r\n\r\n", 400},
      {"folding, second line empty", "GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n", 400},
      {"two lengths", "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
      {"list of lengths", "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc", 400},
      {"signed length", "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc", 400},
      {"negative length", "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc", 400},
      {"length and chunked",
       "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"chunked and length",
       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
      {"unknown coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
      {"list of codings", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
       400},
      {"chunked in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"bad chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", 400},
      {"chunk without end",
       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400},
      {"huge chunk extension", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=" + large,
       400},
      {"long target", "GET /" + std::string(2048, 'a') + " HTTP/1.1\r\n\r\n", 414},
      {"endless target", "GET /" + large, 414},
      {"large head", "GET / HTTP/1.1\r\nA: " + large + "\r\n\r\n", 431},
      {"endless head", "GET / HTTP/1.1\r\nA: " + large, 431},
      {"large head, several fields",
       "GET / HTTP/1.1\r\nA: " + large.substr(0, 5000) + "\r\nB: " + large.substr(0, 5000) +
           "\r\n\r\n",
       431},
      {"many fields", many + "\r\n", 431},
      {"large body", "POST / HTTP/1.1\r\nContent-Length: 8193\r\n\r\n" + large, 413},
      {"overflowing length", "POST / HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\nabc",
       400},
      {"large chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2001\r\n" + large, 413},
      {"large sum of chunks",
       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + large.substr(0, 4096) +
           "\r\n1001\r\n" + large.substr(0, 4097) + "\r\n0\r\n\r\n",
       413},
  };
  for (const Refusal& refusal : cases) {
    SCOPED_TRACE(refusal.name);
    Client one = client();
    one.send(refusal.request);
    const auto response = one.read_all();
    EXPECT_EQ(status_of(response), refusal.status) << response;
    EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
    EXPECT_TRUE(one.ended());
    EXPECT_FALSE(one.was_reset());
  }
  EXPECT_EQ(status_of(exchange("GET / HTTP/1.1\r\n\r\n")), 200U);
}

TEST_P(ServerTest, AcceptsWhatJustFits) {
  start();
  const std::string target = "/" + std::string(2047, 'a');
  EXPECT_EQ(status_of(exchange("GET " + target + " HTTP/1.1\r\n\r\n")), 200U);
  const std::string start = "POST / HTTP/1.1\r\nContent-Length: 8192\r\nA: ";
  const std::string head = start + std::string(8192 - start.size() - 4, 'b') + "\r\n\r\n";
  ASSERT_EQ(head.size(), 8192U);
  EXPECT_THAT(exchange(head + std::string(8192, 'c')), HasSubstr("body=" + std::string(8192, 'c')));
}

TEST_P(ServerTest, EndsSlowAndIdleConnections) {
  Limits limits;
  limits.request = limits.idle = 300ms;
  start(limits);
  Client nothing = client(), half = client(), body = client(), idle = client();
  half.send("GET / HTTP/1.1\r\nA: ");
  body.send("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
  idle.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(status_of(idle.read_response()), 200U);
  EXPECT_EQ(status_of(nothing.read_all()), 408U);
  EXPECT_EQ(status_of(half.read_all()), 408U);
  EXPECT_EQ(status_of(body.read_all()), 408U);
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_TRUE(idle.ended());
}

TEST_P(ServerTest, OneByteAtATimeDoesNotExtendTheDeadline) {
  Limits limits;
  limits.request = 400ms;
  start(limits);
  Client one = client();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 100 && one.send("x"); ++i) {
    if (status_of(one.read_all(20ms)) == 408) {
      break;
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1500ms);
}

TEST_P(ServerTest, WritesLargeAnswersToSlowReaders) {
  std::string large(4 << 20, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) {
    large[i] = static_cast<char>(i * 31 >> 3);
  }
  const auto shared = std::make_shared<const std::string>(large);
  start({}, [&](const Request&) {
    Response response;
    response.body = Body(shared, 1000, "seed");
    return response;
  });
  Client one = client();
  one.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  std::this_thread::sleep_for(50ms);
  std::string expected = large;
  expected.insert(1000, "seed");
  EXPECT_TRUE(body_of(one.read_all(10s)) == expected);
}

TEST_P(ServerTest, ResetsAReaderThatStops) {
  Limits limits;
  limits.write = 300ms;
  const auto large = std::make_shared<const std::string>(64 << 20, 'x');
  start(limits, [&](const Request&) {
    Response response;
    response.body = Body(large);
    return response;
  });
  Client one = client();
  one.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return server_->counters().expired == 1; }));
  EXPECT_TRUE(eventually([&] { return server_->counters().open == 0; }));
}

TEST_P(ServerTest, StandsThousandsOfHalfOpenConnections) {
  start();
  std::vector<Client> half;
  for (int i = 0; i < 400; ++i) {
    half.push_back(client());
    half.back().send("GET / HT");
  }
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(status_of(exchange("GET / HTTP/1.1\r\n\r\n")), 200U);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 500ms);
  EXPECT_TRUE(eventually([&] { return server_->counters().open == 400; }));
}

TEST_P(ServerTest, AcceptsAgainWhenThereAreDescriptors) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer's own checks need descriptors (a pipe)";
#endif
  start();
  Client waiting = client();  // accepted only when its first bytes come
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int highest = ::dup(waiting.fd());
  ::close(highest);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(highest);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  waiting.send("GET / HTTP/1.1\r\n\r\n");
  const bool failed = eventually([&] { return server_->counters().accept_failures > 1; });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(failed);
  EXPECT_EQ(status_of(waiting.read_response()), 200U);
}

TEST_P(ServerTest, CannotBeMadeToSplitAResponse) {
  start({}, [](const Request&) {
    Response response = text_response(404, "no");
    response.headers = {{"Good", "1"}, {"Bad", "x\r\nInjected: 1"}};
    return response;
  });
  const auto response = exchange("GET / HTTP/1.1\r\n\r\n");
  EXPECT_THAT(response, StartsWith("HTTP/1.1 404 Not Found\r\n"));
  EXPECT_THAT(response, HasSubstr("Good: 1\r\n"));
  EXPECT_THAT(response, Not(HasSubstr("Injected")));
}

TEST_P(ServerTest, DrainsWhenStopped) {
  std::promise<void> begun;
  start({}, [&begun](const Request& request) {
    begun.set_value();
    std::this_thread::sleep_for(200ms);
    return echo(request);
  });
  Client busy = client();
  busy.send("GET /busy HTTP/1.1\r\n\r\n");
  ASSERT_EQ(begun.get_future().wait_for(10s), std::future_status::ready);
  server_->stop(2s);
  const auto response = busy.read_all();
  EXPECT_THAT(response, HasSubstr("GET /busy"));
  EXPECT_TRUE(busy.ended());
  EXPECT_TRUE(eventually([&] { return server_->counters().open == 0; }));
}

TEST_P(ServerTest, ServesUnixSockets) {
  TemporaryDirectory directory;
  const auto path = directory.file("deeper/agent.sock");
  start({}, [](const Request& request) {
    return text_response(200, request.peer->in_process ? "ourselves" : "somebody");
  });
  ASSERT_TRUE(server_->listen(UnixEndpoint{.path = path, .mode = 0660}));
  struct stat file{};
  ASSERT_EQ(::stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0660U);
  Client one = Client::local(path);
  one.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(one.read_response()), "somebody");

  // A stale file is replaced; something else is not.
  server_->stop(0ms);
  FunctionHandler handler(echo);
  {
    UniqueFd stale(*listen_unix(UnixEndpoint{.path = path}));
  }
  Server again(workers_, handler);
  EXPECT_TRUE(again.listen(UnixEndpoint{.path = path}));
  const auto plain = directory.file("plain");
  ::close(::open(plain.c_str(), O_CREAT | O_WRONLY, 0600));
  const auto refused = again.listen(UnixEndpoint{.path = plain});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr(plain));
}

TEST(Listen, NamesWhatIsWrong) {
  const auto bad = listen_tcp({"not-an-address", 80});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ErrorCode::invalid);
  EXPECT_THAT(bad.error().message, HasSubstr("not-an-address"));
  EXPECT_FALSE(listen_unix(UnixEndpoint{.path = std::string(200, 'a')}));
  TemporaryDirectory directory;
  EXPECT_FALSE(listen_unix(UnixEndpoint{.path = directory.file("s"), .group = "no-such-group"}));
}

}  // namespace
}  // namespace metatap::http
