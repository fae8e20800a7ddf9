// SPDX-License-Identifier: Apache-2.0
// http_server ADDRESS PORT BODY-FILE|unix:SOCKET [THREADS]: our HTTP server with a constant answer
// or, with a socket, passing each request on to it: what the HTTP layer costs, beside
// minimal_server, which is the limit.
#include <csignal>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "http/server.hpp"
#include "http/upstream.hpp"
#include "http/workers.hpp"

namespace {

class Constant final : public metatap::Handler {
 public:
  explicit Constant(std::string body)
      : body_(std::make_shared<const std::string>(std::move(body))) {}
  std::optional<metatap::Response> answer(const metatap::Request&) override {
    metatap::Response response;
    response.content_type = "application/json";
    response.body = metatap::Body(body_);
    return response;
  }
  boost::asio::awaitable<metatap::Response> handle(const metatap::Request& request) override {
    co_return *answer(request);
  }

 private:
  std::shared_ptr<const std::string> body_;
};

std::unique_ptr<metatap::Handler> handler_for(const std::string& what) {
  if (what.starts_with("unix:")) {
    metatap::http::UpstreamOptions options;
    options.endpoint = metatap::http::UnixEndpoint{.path = what.substr(5)};
    return std::move(*metatap::http::Upstream::create(options));
  }
  std::ifstream file(what, std::ios::binary);
  return std::make_unique<Constant>(std::string(std::istreambuf_iterator<char>(file), {}));
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

  const auto handler = handler_for(argv[3]);
  metatap::http::Workers workers(argc > 4 ? static_cast<unsigned>(std::atoi(argv[4])) : 2U);
  metatap::http::Server server(workers, *handler);
  workers.start();
  const auto listening = server.listen(
      metatap::http::TcpEndpoint{argv[1], static_cast<std::uint16_t>(std::atoi(argv[2]))});
  if (!listening) {
    std::fprintf(stderr, "http_server: %s\n", listening.error().message.c_str());
    return 1;
  }
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  std::printf("%llu\n", static_cast<unsigned long long>(server.counters().requests));
  server.stop(std::chrono::milliseconds(0));
  return 0;
}
