// SPDX-License-Identifier: Apache-2.0
// minimal_server ADDRESS PORT BODY-FILE [THREADS]: a constant answer over TCP, the limit.
#include <arpa/inet.h>

#include "tiny_server.hpp"

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: minimal_server ADDRESS PORT BODY-FILE [THREADS]\n");
    return 2;
  }
  const auto threads = argc > 4 ? static_cast<unsigned>(std::atoi(argv[4])) : 2U;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[2])));
  if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
    std::fprintf(stderr, "minimal_server: not an IPv4 address: %s\n", argv[1]);
    return 2;
  }
  std::vector<int> listeners;
  for (unsigned i = 0; i < threads; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        listen(fd, 4096) != 0) {
      std::perror("minimal_server");
      return 1;
    }
    listeners.push_back(fd);
  }
  metatap::bench::TinyServer server(std::move(listeners), metatap::bench::read_file(argv[3]),
                                    "application/json");
  std::printf("%llu\n", static_cast<unsigned long long>(server.run(threads)));
  return 0;
}
