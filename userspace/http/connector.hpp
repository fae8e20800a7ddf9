// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>

#include "http/connection.hpp"
#include "http/endpoint.hpp"
#include "http/upstream.hpp"
#include "metatap/result.hpp"

namespace metatap::http {

/// Makes connections to one upstream, on any worker: names are resolved, a UNIX socket whose
/// backlog is full is waited for, TLS is agreed on. Must stay until they are there.
class Connector {
 public:
  /// Fails when the TLS files cannot be read.
  static Result<std::unique_ptr<const Connector>> create(const UpstreamOptions& options);

  /// Null: nobody there, or not in time. `deadline` as Deadlines::now() counts.
  [[nodiscard]] boost::asio::awaitable<ConnectionPtr> connect(boost::asio::io_context& context,
                                                              std::int64_t deadline) const;

 private:
  explicit Connector(const UpstreamOptions& options)
      : endpoint_(options.endpoint),
        longest_(options.connect),
        body_limit_(options.max_response),
        verify_(options.tls && !options.tls->insecure) {}

  const Endpoint endpoint_;
  const std::chrono::milliseconds longest_;
  const std::size_t body_limit_;
  const bool verify_;
  std::unique_ptr<boost::asio::ssl::context> tls_;  // null: none; OpenSSL locks it
};

}  // namespace metatap::http
