// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/published.hpp"
#include "http/connection.hpp"
#include "http/endpoint.hpp"
#include "http/tls.hpp"
#include "http/upstream.hpp"
#include "metatap/result.hpp"

namespace metatap::http {

/// Makes connections to one upstream, on any worker: names are resolved, a UNIX socket whose
/// backlog is full is waited for, TLS is agreed on. Must stay until they are there.
class Connector {
 public:
  /// Fails when the TLS files cannot be read.
  static Result<std::unique_ptr<Connector>> create(const UpstreamOptions& options);

  /// Reads the TLS files again, for connections from now on. What cannot be read changes nothing.
  [[nodiscard]] Status reload_tls();

  /// Null: nobody there, or not in time. `deadline` as Deadlines::now() counts.
  [[nodiscard]] boost::asio::awaitable<ConnectionPtr> connect(boost::asio::io_context& context,
                                                              std::int64_t deadline) const;

 private:
  explicit Connector(const UpstreamOptions& options)
      : endpoint_(options.endpoint),
        longest_(options.connect),
        body_limit_(options.max_response),
        verify_(options.tls && !options.tls->insecure),
        tls_options_(options.tls) {}

  const Endpoint endpoint_;
  const std::chrono::milliseconds longest_;
  const std::size_t body_limit_;
  const bool verify_;
  const std::optional<TlsOptions> tls_options_;
  // Null: none. OpenSSL locks it, and connections that were made with it keep what they need.
  Published<std::unique_ptr<boost::asio::ssl::context>> tls_;
};

}  // namespace metatap::http
