// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>

#include "http/upstream.hpp"
#include "unit/http/certificate.hpp"
#include "unit/http/support.hpp"
#include "unit/waiting.hpp"

namespace metatap::http {
namespace {

namespace asio = boost::asio;
using namespace metatap::testing;

/// A TLS server that answers what it is asked and says whether the client showed a certificate.
class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!made_.made()) {
      GTEST_SKIP() << "no openssl program to make a certificate with";
    }
    tls_.use_certificate_chain_file(certificate_);
    tls_.use_private_key_file(key_, asio::ssl::context::pem);
    tls_.load_verify_file(certificate_);
    tls_.set_verify_mode(asio::ssl::verify_peer);
    thread_ = std::thread([this] { serve(); });
  }
  void TearDown() override {
    if (thread_.joinable()) {
      stopped_ = true;
      Client::tcp(acceptor_.local_endpoint().port());
      thread_.join();
    }
  }
  void serve() {
    while (true) {
      asio::ssl::stream<asio::ip::tcp::socket> stream(acceptor_.accept(), tls_);
      if (stopped_) {
        return;
      }
      boost::system::error_code error;
      stream.handshake(asio::ssl::stream_base::server, error);
      if (error) {
        continue;
      }
      asio::streambuf input;
      asio::read_until(stream, input, "\r\n\r\n", error);
      X509* const shown = SSL_get_peer_certificate(stream.native_handle());
      const std::string body = shown != nullptr ? "known" : "stranger";
      X509_free(shown);
      asio::write(stream,
                  asio::buffer("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) +
                               "\r\n\r\n" + body),
                  error);
    }
  }
  Response ask(TlsOptions tls) {
    UpstreamOptions options;
    options.endpoint = TcpEndpoint{"127.0.0.1", acceptor_.local_endpoint().port()};
    options.deadline = 5s;
    options.tls = std::move(tls);
    auto upstream = Upstream::create(options);
    EXPECT_TRUE(upstream) << upstream.error().message;
    return metatap::ask(**upstream, request_);
  }

  const Certificate made_;
  const std::string &key_ = made_.key(), &certificate_ = made_.file();
  const Request request_;
  asio::io_context context_;
  asio::ip::tcp::acceptor acceptor_{context_, {asio::ip::address_v4::loopback(), 0}};
  asio::ssl::context tls_{asio::ssl::context::tls_server};
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

TEST_F(TlsTest, VerifiesTheServerUnlessToldNotTo) {
  EXPECT_EQ(ask({.ca_file = certificate_}).body.str(), "stranger");
  EXPECT_EQ(ask({}).status, 503U);  // signed by nobody the system trusts
  EXPECT_EQ(ask({.insecure = true}).body.str(), "stranger");
}

TEST_F(TlsTest, ShowsItsCertificateWhenItHasBothFiles) {
  EXPECT_EQ(
      ask({.ca_file = certificate_, .client_cert = certificate_, .client_key = key_}).body.str(),
      "known");
  EXPECT_EQ(ask({.ca_file = certificate_, .client_cert = certificate_}).body.str(), "stranger");
}

}  // namespace
}  // namespace metatap::http
