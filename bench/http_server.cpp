// SPDX-License-Identifier: Apache-2.0
// http_server ADDRESS PORT BODY-FILE|unix:SOCKET [THREADS]: our HTTP server with a constant answer
// or, with a socket, our proxy stage in front of it: what they cost beside minimal_server, which is
// the limit, and without any steering.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "http/server.hpp"
#include "http/upstream.hpp"
#include "http/workers.hpp"
#include "proxy/stage.hpp"

namespace {

class Constant final : public metatap::Handler {
 public:
  explicit Constant(std::string body)
      : body_(std::make_shared<const std::string>(std::move(body))) {}

 private:
  std::optional<metatap::Response> handle(const metatap::Request&, boost::asio::io_context&,
                                          metatap::Continuation&) override {
    metatap::Response response;
    response.content_type = "application/json";
    response.body = metatap::Body(body_);
    return response;
  }

  std::shared_ptr<const std::string> body_;
};

/// One port behind every connection.
class OnePort final : public metatap::CallerResolver {
 public:
  OnePort() {
    auto origin = std::make_shared<metatap::Origin>();
    origin->port_id = "11111111-2222-3333-4444-555555555555";
    origin->network_id = "66666666-7777-8888-9999-000000000000";
    origin_ = std::move(origin);
  }
  [[nodiscard]] metatap::Caller caller_of(int, const sockaddr_storage&) const override {
    return {origin_, "10.0.0.5"};
  }

 private:
  std::shared_ptr<const metatap::Origin> origin_;
};

int wait_for_end() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  int number = 0;
  return sigwait(&signals, &number);
}

int serve_constant(metatap::http::Workers& workers, const metatap::http::TcpEndpoint& endpoint,
                   const std::string& body_file) {
  std::ifstream file(body_file, std::ios::binary);
  Constant handler(std::string(std::istreambuf_iterator<char>(file), {}));
  metatap::http::Server server(workers, handler);
  if (const auto listening = server.listen(endpoint); !listening) {
    std::fprintf(stderr, "http_server: %s\n", listening.error().message.c_str());
    return 1;
  }
  return wait_for_end();
}

int serve_proxy(metatap::http::Workers& workers, const metatap::http::TcpEndpoint& endpoint,
                const std::string& socket) {
  metatap::proxy::ProxyOptions options;
  options.metadata_proxy_socket = socket;
  options.max_connections_per_port = options.max_connections_per_network;
  const auto upstream = std::move(*metatap::http::Upstream::create(options.upstream()));
  metatap::proxy::ProxyStage stage(workers, *upstream, options,
                                   metatap::PortTagKey(std::string(32, 'k')));
  const auto resolver = std::make_shared<OnePort>();
  for (unsigned i = 0; i < workers.size(); ++i) {
    auto fd = metatap::http::listen_tcp(endpoint);
    if (!fd) {
      std::fprintf(stderr, "http_server: %s\n", fd.error().message.c_str());
      return 1;
    }
    stage.open({std::move(*fd), "bench", {}, i}, resolver);
  }
  return wait_for_end();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: http_server ADDRESS PORT BODY-FILE|unix:SOCKET [THREADS]\n");
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  metatap::http::Workers workers(argc > 4 ? static_cast<unsigned>(std::atoi(argv[4])) : 2U);
  workers.start();
  const metatap::http::TcpEndpoint endpoint{argv[1],
                                            static_cast<std::uint16_t>(std::atoi(argv[2]))};
  const std::string what = argv[3];
  return what.starts_with("unix:") ? serve_proxy(workers, endpoint, what.substr(5))
                                   : serve_constant(workers, endpoint, what);
}
