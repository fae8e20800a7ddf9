// SPDX-License-Identifier: Apache-2.0
// backend SOCKET BODY-FILE [THREADS]: the constant agent behind every proxy that is measured.
#include <sys/stat.h>
#include <sys/un.h>

#include "tiny_server.hpp"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: backend SOCKET BODY-FILE [THREADS]\n");
    return 2;
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string_view path = argv[1];
  if (path.size() >= sizeof(address.sun_path)) {
    std::fprintf(stderr, "backend: the socket's path is too long: %s\n", argv[1]);
    return 1;
  }
  path.copy(address.sun_path, path.size());
  unlink(argv[1]);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      chmod(argv[1], 0666) != 0 || listen(fd, 4096) != 0) {
    std::perror("backend");
    return 1;
  }
  metatap::bench::TinyServer server({fd}, metatap::bench::read_file(argv[2]), "application/json");
  const auto threads = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 2U;
  std::printf("%llu\n", static_cast<unsigned long long>(server.run(threads)));
  unlink(argv[1]);
  return 0;
}
