// SPDX-License-Identifier: Apache-2.0
#include "http/server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "base/fair_share.hpp"
#include "http/turned_away.hpp"

namespace metatap::http {
namespace {

/// The address as text; empty: it has none.
std::string address_of(const sockaddr_storage& peer) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* raw = nullptr;
  if (peer.ss_family == AF_INET) {
    raw = &reinterpret_cast<const sockaddr_in&>(peer).sin_addr;
  } else if (peer.ss_family == AF_INET6) {
    raw = &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr;
  }
  return raw != nullptr && ::inet_ntop(peer.ss_family, raw, text.data(),
                                       static_cast<socklen_t>(text.size())) != nullptr
             ? text.data()
             : "";
}

/// Who connected to a UNIX socket, as the kernel says: "uid 0, pid 77".
std::string process_at(int fd) {
  ucred who{};
  socklen_t size = sizeof who;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0
             ? "uid " + std::to_string(who.uid) + ", pid " + std::to_string(who.pid)
             : "an unknown process";
}

/// A client of whom nothing is known but where it comes from.
class AnyClient final : public ClientHandler {
 public:
  AnyClient(Handler& handler, std::string address, FairRoom::Place place)
      : handler_(handler), address_(std::move(address)), place_(std::move(place)) {
    peer_.address = address_;
  }
  [[nodiscard]] const Peer& peer() const override { return peer_; }

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override {
    return handler_.ask(request, here, then);
  }

  Handler& handler_;
  const std::string address_;
  const FairRoom::Place place_;
  Peer peer_;
};

/// One whose address has its share already.
class OneTooMany final : public TurnedAway {
 public:
  explicit OneTooMany(FairRoom::Place place) : place_(std::move(place)) {}

 private:
  const FairRoom::Place place_;
};

/// Everybody may come in, each address with its share; all talk to the same handler.
class AnyAcceptor final : public Acceptor {
 public:
  /// One place in sixteen is for those who are told that they have too many.
  AnyAcceptor(Handler& handler, const Limits& limits)
      : handler_(handler),
        for_operator_(limits.for_operator),
        clients_(std::make_shared<FairRoom>(limits.connections - limits.connections / 16)),
        turned_away_(
            std::make_shared<FairRoom>(std::max<std::size_t>(limits.connections / 16, 1))) {}

  [[nodiscard]] std::unique_ptr<ClientHandler> accept(int fd, const sockaddr_storage& peer,
                                                      unsigned) override {
    auto address = address_of(peer);
    if (for_operator_ && peer.ss_family == AF_UNIX) {
      return std::make_unique<AnyClient>(handler_, process_at(fd), FairRoom::Place());
    }
    FairRoom::Place place;
    if (!address.empty()) {  // a UNIX socket's peers are all alike
      place = clients_->enter(address);
      if (!place) {
        auto other = turned_away_->enter(std::move(address));
        return other ? std::make_unique<OneTooMany>(std::move(other)) : nullptr;
      }
    }
    return std::make_unique<AnyClient>(handler_, std::move(address), std::move(place));
  }

 private:
  Handler& handler_;
  const bool for_operator_;
  const std::shared_ptr<FairRoom> clients_, turned_away_;
};

}  // namespace

Server::Server(Workers& workers, Handler& handler, Limits limits)
    : workers_(workers), handler_(handler), sockets_(workers, limits) {}

Server::~Server() {
  stop({});
}

Status Server::listen(const Endpoint& endpoint) {
  const std::string name = to_string(endpoint);
  if (const auto* local = std::get_if<UnixEndpoint>(&endpoint)) {
    auto fd = listen_unix(*local);
    if (!fd) {
      return tl::make_unexpected(std::move(fd).error());
    }
    struct stat file{};
    ::stat(local->path.c_str(), &file);
    socket_files_.push_back({local->path, file.st_ino});
    return listen(*fd, name);
  }
  TcpEndpoint tcp = std::get<TcpEndpoint>(endpoint);
  if (auto unused = check_unused(tcp); !unused) {
    return unused;
  }
  const auto acceptor = make_acceptor();
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

Status Server::listen(const UniqueFd& listening, const std::string& name) {
  const auto acceptor = make_acceptor();
  for (unsigned i = 0; i < workers_.size(); ++i) {
    UniqueFd copy(::fcntl(listening.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy) {
      return fail_errno(errno, "listen on " + name);
    }
    sockets_.open(i, std::move(copy), name, acceptor);
  }
  return {};
}

std::shared_ptr<Acceptor> Server::make_acceptor() {
  return std::make_shared<AnyAcceptor>(handler_, sockets_.limits());
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
