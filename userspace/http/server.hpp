// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "http/endpoint.hpp"
#include "http/limits.hpp"
#include "http/socket_server.hpp"
#include "http/workers.hpp"
#include "metatap/exchange.hpp"
#include "metatap/result.hpp"

namespace metatap::http {

/// Serves one Handler on TCP and UNIX sockets. By TCP, one address gets its fair share of the
/// connections that there may be (fair_share.hpp), and 503 beyond it. The handler and the workers
/// must outlive the server. Any thread.
class Server {
 public:
  Server(Workers& workers, Handler& handler, Limits limits = {});
  ~Server();

  /// TCP: one SO_REUSEPORT listener per worker. UNIX: one listening socket that all workers accept
  /// from.
  [[nodiscard]] Status listen(const Endpoint& endpoint);
  /// On a socket that listens already.
  [[nodiscard]] Status listen(const UniqueFd& listening, const std::string& name);
  /// The port of the first TCP listener, for endpoints that asked for port 0.
  [[nodiscard]] std::uint16_t port() const { return port_; }

  /// Nothing new comes in, what runs goes on: SocketServer::drain().
  void drain() { sockets_.drain(); }
  [[nodiscard]] unsigned open_connections() const { return sockets_.open_connections(); }
  void stop(std::chrono::milliseconds drain = std::chrono::seconds(5));
  [[nodiscard]] ServerCounts<> counters() const { return sockets_.counters(); }

 private:
  [[nodiscard]] std::shared_ptr<Acceptor> make_acceptor();
  Workers& workers_;
  Handler& handler_;
  SocketServer sockets_;
  std::uint16_t port_ = 0;
  struct SocketFile {
    std::string path;
    ino_t inode = 0;
  };
  std::vector<SocketFile> socket_files_;
};

}  // namespace metatap::http
