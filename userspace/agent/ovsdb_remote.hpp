// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "metatap/result.hpp"
#include "metatap/unique_fd.hpp"

namespace metatap::agent {

struct OvsdbOptions {
  /// "unix:PATH", "tcp:HOST:PORT", "ssl:HOST:PORT": the members of one cluster, tried in turn.
  std::vector<std::string> remotes;
  std::string database;
  std::string private_key, certificate, ca_cert;  ///< files, for ssl:
  bool leader_only = false;                       ///< leave a member that is not the leader
  std::chrono::milliseconds connect{10'000};
  /// Without a word for that long the server is asked for a sign of life; after twice, given up.
  /// 0: never asked.
  std::chrono::milliseconds probe{60'000};
  std::chrono::milliseconds first_back_off{100}, longest_back_off{8'000};
  /// Asked for a connection to a UNIX socket that this process may not connect to. None: it stays
  /// an error.
  std::function<boost::asio::awaitable<Result<UniqueFd>>(std::string path)> connect_for_us;
};

/// Where an OVSDB server listens.
struct OvsdbRemote {
  enum class Kind : std::uint8_t { unix_socket, tcp, ssl } kind = Kind::tcp;
  std::string text, host;  ///< host is the path of a UNIX socket
  std::uint16_t port = 0;

  static Result<OvsdbRemote> parse(const std::string& text);
};

/// What ssl: remotes are connected to with; null if there are none. Reads the key files.
Result<std::unique_ptr<boost::asio::ssl::context>> ovsdb_tls(
    const OvsdbOptions& options, const std::vector<OvsdbRemote>& remotes);

}  // namespace metatap::agent
