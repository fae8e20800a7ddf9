// SPDX-License-Identifier: Apache-2.0
// Servers that say more than they were asked: no request is answered by what was meant for another.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <poll.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl.hpp>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "http/endpoint.hpp"
#include "http/upstream.hpp"
#include "unit/http/certificate.hpp"
#include "unit/http/support.hpp"
#include "unit/waiting.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using namespace metatap::testing;

/// The server's end of one connection, with TLS or without.
class Peer {
 public:
  Peer(UniqueFd fd, SSL_CTX* tls) : fd_(std::move(fd)) {
    if (tls != nullptr) {
      ssl_.reset(SSL_new(tls));
      SSL_set_fd(ssl_.get(), fd_.get());
      SSL_accept(ssl_.get());
    }
  }

  /// The target of the next request; empty at the end of the connection.
  std::string request() {
    while (text_.find("\r\n\r\n") == std::string::npos) {
      std::array<char, 4096> bytes{};
      const auto got = ssl_ ? SSL_read(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
                            : static_cast<int>(::recv(fd_.get(), bytes.data(), bytes.size(), 0));
      if (got <= 0) {
        return "";
      }
      text_.append(bytes.data(), static_cast<std::size_t>(got));
    }
    const auto begin = text_.find(' ') + 1;
    auto target = text_.substr(begin, text_.find(' ', begin) - begin);
    text_.erase(0, text_.find("\r\n\r\n") + 4);
    return target;
  }
  void say(std::string_view text) {
    if (ssl_) {
      SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size()));
    } else {
      ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
  }
  void answer(std::string_view body) {
    say("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
        std::string(body));
  }
  /// Each further request with its own target.
  void behave() {
    for (auto target = request(); !target.empty(); target = request()) {
      answer(target);
    }
  }
  void finish() {
    if (ssl_) {
      SSL_shutdown(ssl_.get());
    }
    ::shutdown(fd_.get(), SHUT_WR);
  }
  /// Whether the client closes within the time.
  bool closed(std::chrono::milliseconds within) {
    pollfd wait{fd_.get(), POLLRDHUP, 0};
    return ::poll(&wait, 1, static_cast<int>(within.count())) == 1;
  }

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  UniqueFd fd_;
  std::unique_ptr<SSL, Free> ssl_;
  std::string text_;
};

/// Does to its first connection what it is told, and behaves on all others.
class Neighbour {
 public:
  using Act = std::function<void(Peer&)>;
  Neighbour(UniqueFd listener, SSL_CTX* tls, Act act)
      : listener_(std::move(listener)), tls_(tls), act_(std::move(act)) {
    ::fcntl(listener_.get(), F_SETFL, 0);  // blocking
    thread_ = std::thread([this] {
      for (int number = 0;; ++number) {
        UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd || stopped_) {
          return;
        }
        serving_.emplace_back([this, number, accepted = std::move(fd)]() mutable {
          Peer peer(std::move(accepted), tls_);
          if (number == 0) {
            act_(peer);
          } else {
            peer.behave();
          }
        });
      }
    });
  }
  ~Neighbour() {
    stopped_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    for (auto& one : serving_) {
      one.join();
    }
  }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

 private:
  UniqueFd listener_;
  SSL_CTX* tls_;
  Act act_;
  std::atomic<bool> stopped_{false};
  std::list<std::thread> serving_;
  std::thread thread_;
};

enum class Over : std::uint8_t { local, tcp, tls };

/// Over each kind of connection; with a loop that runs while the connection rests, and with one
/// that is busy.
class UnaskedTest : public ::testing::TestWithParam<std::tuple<Over, bool>> {
 protected:
  void serve(Neighbour::Act act) {
    SSL_CTX* context = nullptr;
    UniqueFd listener;
    if (std::get<Over>(GetParam()) == Over::local) {
      const UnixEndpoint endpoint{.path = directory_.file("up.sock")};
      listener = std::move(*listen_unix(endpoint));
      options_.endpoint = endpoint;
    } else {
      listener = std::move(*listen_tcp(TcpEndpoint{"127.0.0.1", 0}));
      options_.endpoint = TcpEndpoint{"127.0.0.1", bound_port(listener.get())};
    }
    if (std::get<Over>(GetParam()) == Over::tls) {
      static const Certificate certificate;
      if (!certificate.made()) {
        GTEST_SKIP() << "no openssl program to make a certificate with";
      }
      tls_.use_certificate_chain_file(certificate.file());
      tls_.use_private_key_file(certificate.key(), asio::ssl::context::pem);
      context = tls_.native_handle();
      options_.tls = TlsOptions{.ca_file = certificate.file()};
    }
    neighbour_.emplace(std::move(listener), context, std::move(act));
    auto made = Upstream::create(options_);
    ASSERT_TRUE(made) << made.error().message;
    upstream_ = std::move(*made);
  }

  Response ask(std::string_view target, std::string_view method = "GET") {
    const Request request{.method = method, .target = target};
    return metatap::ask(*upstream_, request, context_);
  }
  /// Until the server has done what it does, and then some.
  void pause() {
    const auto step = [&] {
      if (loop_runs()) {
        context_.restart();
        context_.run_one_for(5ms);
      } else {
        std::this_thread::sleep_for(5ms);
      }
    };
    while (!said_) {
      step();
    }
    for (int i = 0; i < 10; ++i) {
      step();
    }
  }
  [[nodiscard]] static bool loop_runs() { return std::get<1>(GetParam()); }

  /// After the server has misbehaved: everybody gets the own answer.
  void expect_own_answers() {
    for (const char* target : {"/second", "/third", "/fourth"}) {
      const auto response = ask(target);
      EXPECT_EQ(response.status, 200U);
      EXPECT_EQ(response.body.str(), target);
    }
  }
  /// To be called by the server, once.
  void said(Peer& peer) {
    said_ = true;
    if (loop_runs()) {
      EXPECT_TRUE(peer.closed(2s)) << "a connection that says what nobody asked is kept";
    }
    peer.behave();
  }

  TemporaryDirectory directory_;
  UpstreamOptions options_;
  asio::ssl::context tls_{asio::ssl::context::tls_server};
  std::atomic<bool> said_{false};
  std::optional<Neighbour> neighbour_;
  asio::io_context context_{1};  // goes first, with its pools, so that the server can end
  std::unique_ptr<Upstream> upstream_;
};
std::string name_of(const ::testing::TestParamInfo<UnaskedTest::ParamType>& test) {
  const auto [over, running] = test.param;
  const std::string name = over == Over::local ? "local" : over == Over::tcp ? "tcp" : "tls";
  return name + (running ? "_running" : "_busy");
}
INSTANTIATE_TEST_SUITE_P(All, UnaskedTest,
                         ::testing::Combine(::testing::Values(Over::local, Over::tcp, Over::tls),
                                            ::testing::Bool()),
                         name_of);

TEST_P(UnaskedTest, ASecondResponseAfterAPause) {
  serve([this](Peer& peer) {
    peer.answer(peer.request());
    std::this_thread::sleep_for(20ms);
    peer.answer("stolen");
    said(peer);
  });
  EXPECT_EQ(ask("/first").body.str(), "/first");
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, ASecondResponseAtOnce) {
  serve([this](Peer& peer) {
    peer.request();
    peer.say(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n"
        "Content-Length: 6\r\n\r\nstolen");
    said(peer);
  });
  EXPECT_EQ(ask("/first").body.str(), "ok");
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, MoreThanALargeBody) {
  const std::string large(200'000, 'x');  // read to where it belongs, not a byte more
  serve([this, &large](Peer& peer) {
    peer.request();
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
    std::this_thread::sleep_for(20ms);
    peer.say(large + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen");
    said(peer);
  });
  EXPECT_TRUE(ask("/first").body.str() == large);
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, ABodyAfterHead) {
  const std::string body = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
  serve([this, &body](Peer& peer) {
    peer.request();
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
    std::this_thread::sleep_for(20ms);
    peer.say(body);
    said(peer);
  });
  EXPECT_EQ(ask("/first", "HEAD").status, 200U);
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, ABodyAfterNoContent) {
  serve([this](Peer& peer) {
    peer.request();
    peer.say("HTTP/1.1 204 No Content\r\n\r\n");
    std::this_thread::sleep_for(20ms);
    peer.answer("stolen");
    said(peer);
  });
  EXPECT_EQ(ask("/first").status, 204U);
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, ATimeoutOfAnIdleConnection) {
  serve([this](Peer& peer) {
    peer.answer(peer.request());
    peer.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
    peer.finish();
    said(peer);
  });
  EXPECT_EQ(ask("/first").body.str(), "/first");
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, ATimeoutThatCrossesTheRequest) {
  serve([this](Peer& peer) {
    peer.answer(peer.request());
    peer.request();
    peer.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
  });
  EXPECT_EQ(ask("/first").body.str(), "/first");
  expect_own_answers();
  EXPECT_EQ(upstream_->counters().retried, 1U);
}

TEST_P(UnaskedTest, TheOtherHalfAfterTheDeadline) {
  options_.deadline = 300ms;
  serve([this](Peer& peer) {
    peer.request();
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nstolen");
    EXPECT_TRUE(peer.closed(2s));
    peer.say("stolen");
    said_ = true;
  });
  EXPECT_EQ(ask("/first").status, 504U);
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, TheOtherHalfInTimeAndMore) {
  serve([this](Peer& peer) {
    peer.request();
    peer.say("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nfirst,");
    std::this_thread::sleep_for(20ms);
    peer.say("second");
    std::this_thread::sleep_for(20ms);
    peer.say("third");
    said(peer);
  });
  EXPECT_EQ(ask("/first").body.str(), "first,second");
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, TheEnd) {
  serve([this](Peer& peer) {
    peer.answer(peer.request());
    peer.finish();
    said(peer);
  });
  EXPECT_EQ(ask("/first").body.str(), "/first");
  pause();
  expect_own_answers();
  EXPECT_EQ(upstream_->counters().retried, 0U) << "it was known to have ended";
}

TEST_P(UnaskedTest, ContradictoryFraming) {
  serve([this](Peer& peer) {
    peer.request();
    peer.say(
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen");
    said(peer);
  });
  EXPECT_EQ(ask("/first").status, 502U);
  pause();
  expect_own_answers();
}

TEST_P(UnaskedTest, AnHonestServerKeepsItsConnection) {
  serve([](Peer& peer) { peer.behave(); });
  expect_own_answers();
  said_ = true;
  pause();
  expect_own_answers();
  EXPECT_EQ(upstream_->counters().connects, 1U);
  EXPECT_EQ(upstream_->counters().reused, 5U);
}

}  // namespace
}  // namespace metatap::http
