// SPDX-License-Identifier: Apache-2.0
#include "http/server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <utility>

namespace metatap::http {
namespace {

/// A client of whom nothing is known but where it comes from.
class AnyClient final : public ClientHandler {
 public:
  AnyClient(Handler& handler, const sockaddr_storage& address) : handler_(handler) {
    if (address.ss_family == AF_INET || address.ss_family == AF_INET6) {
      const auto* const raw =
          address.ss_family == AF_INET
              ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(address).sin_addr)
              : &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
      if (::inet_ntop(address.ss_family, raw, text_.data(), static_cast<socklen_t>(text_.size())) !=
          nullptr) {
        peer_.address = text_.data();
      }
    }
  }

  [[nodiscard]] const Peer& peer() const override { return peer_; }

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override {
    return handler_.ask(request, here, then);
  }

  Handler& handler_;
  Peer peer_;
  std::array<char, INET6_ADDRSTRLEN> text_{};
};

/// Everybody may come in; all talk to the same handler.
class AnyAcceptor final : public Acceptor {
 public:
  explicit AnyAcceptor(Handler& handler) : handler_(handler) {}
  [[nodiscard]] std::unique_ptr<ClientHandler> accept(int, const sockaddr_storage& peer,
                                                      unsigned) override {
    return std::make_unique<AnyClient>(handler_, peer);
  }

 private:
  Handler& handler_;
};

}  // namespace

Server::Server(Workers& workers, Handler& handler, Limits limits)
    : workers_(workers), handler_(handler), sockets_(workers, limits) {}

Server::~Server() {
  stop({});
}

Status Server::listen(const Endpoint& endpoint) {
  const std::string name = to_string(endpoint);
  const auto acceptor = std::make_shared<AnyAcceptor>(handler_);
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) {
    auto fd = listen_unix(*local);
    if (!fd) {
      return tl::make_unexpected(std::move(fd).error());
    }
    struct stat file{};
    ::stat(local->path.c_str(), &file);
    socket_files_.push_back({local->path, file.st_ino});
    for (unsigned i = 0; i < workers_.size(); ++i) {
      const int copy = ::fcntl(fd->get(), F_DUPFD_CLOEXEC, 0);
      if (copy < 0) {
        return fail_errno(errno, "listen on " + name);
      }
      sockets_.open(i, UniqueFd(copy), name, acceptor);
    }
    return {};
  }
  TcpEndpoint tcp = std::get<TcpEndpoint>(endpoint);
  if (auto unused = check_unused(tcp); !unused) {
    return unused;
  }
  for (unsigned i = 0; i < workers_.size(); ++i) {
    auto fd = listen_tcp(tcp);
    if (!fd) {
      return tl::make_unexpected(std::move(fd).error());
    }
    tcp.port = bound_port(fd->get());
    sockets_.open(i, std::move(*fd), name, acceptor);
  }
  if (port_ == 0) {
    port_ = tcp.port;
  }
  return {};
}

void Server::stop(std::chrono::milliseconds drain) {
  sockets_.stop(drain);
  for (const auto& file : std::exchange(socket_files_, {})) {
    struct stat now{};  // a successor may have put its own there
    if (::stat(file.path.c_str(), &now) == 0 && now.st_ino == file.inode) {
      ::unlink(file.path.c_str());
    }
  }
}

}  // namespace metatap::http
