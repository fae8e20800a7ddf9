// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "agent/ovsdb_remote.hpp"
#include "base/json_text.hpp"
#include "http/names.hpp"
#include "http/overload.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// One connection to an OVSDB server: JSON-RPC messages go out and come in, a silent server is
/// asked for a sign of life and then given up. Used once, on the thread that runs the context;
/// whatever waits for the network keeps the connection alive until it ends, or close() ends it.
class OvsdbConnection : public std::enable_shared_from_this<OvsdbConnection> {
 public:
  /// `tls` is needed for ssl: remotes, and outlives the connection.
  OvsdbConnection(boost::asio::io_context& context, boost::asio::ssl::context* tls,
                  const OvsdbOptions& options);

  [[nodiscard]] boost::asio::awaitable<Status> connect(const OvsdbRemote& remote);
  /// Queues a message; what cannot be sent ends the connection.
  void send(const nlohmann::json& message);
  /// The next message, an object. An error is the end of the connection.
  [[nodiscard]] boost::asio::awaitable<Result<nlohmann::json>> receive();
  void close();

  [[nodiscard]] static nlohmann::json request(std::string_view method, nlohmann::json params,
                                              const nlohmann::json& id);

 private:
  [[nodiscard]] boost::asio::awaitable<Result<http::Names::Addresses>> addresses_of(
      const std::string& host);
  [[nodiscard]] boost::asio::awaitable<Status> take_connection(std::string path);
  void close_unless_connected();
  void watch();
  static boost::asio::awaitable<void> write(std::shared_ptr<OvsdbConnection> self);

  boost::asio::io_context& context_;
  boost::asio::ssl::context* tls_context_;
  const std::chrono::milliseconds connect_within_, probe_;
  const decltype(OvsdbOptions::connect_for_us) connect_for_us_;
  http::MemoryShare share_;  ///< of what has come and is not whole
  boost::asio::generic::stream_protocol::socket socket_;
  std::optional<boost::asio::ssl::stream<boost::asio::generic::stream_protocol::socket&>> tls_;
  boost::asio::steady_timer watchdog_;
  bool closed_ = false, writing_ = false;
  bool heard_ = true, asked_ = false;  ///< since the watchdog looked last; and what it did
  std::deque<std::string> outgoing_, incoming_;
  JsonSplitter splitter_;
  std::array<char, 65536> chunk_;
};

}  // namespace metatap::agent
