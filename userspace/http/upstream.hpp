// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "http/endpoint.hpp"
#include "http/tls.hpp"
#include "metatap/counters.hpp"
#include "metatap/exchange.hpp"
#include "metatap/result.hpp"

namespace metatap::http {

struct UpstreamOptions {
  Endpoint endpoint;
  std::optional<TlsOptions> tls;  ///< TCP only
  /// From the start of an exchange, waiting for a connection included, to its last byte.
  std::chrono::milliseconds deadline{60'000};
  std::chrono::milliseconds connect{30'000};
  bool keep_alive = true;                  ///< reuse connections
  std::size_t idle_per_worker = 64;        ///< connections kept for reuse
  std::chrono::milliseconds idle{10'000};  ///< how long they are kept
  /// Largest request, head and body together; beyond it: 414, 431 or 413. 0: no limit.
  std::size_t max_request = 0;
  std::size_t max_response = 64U << 20U;  ///< beyond it: 502
  /// The response headers that are handed on, besides Content-Type.
  std::vector<std::string> pass_headers{"Retry-After"};
};

/// The next stage, somewhere else: an HTTP/1.1 client as a Handler, so that a split pipeline and a
/// fused one differ only in which Handler is passed.
///
/// A request leaves in one write (head and body together) over a pooled connection; pools are per
/// worker. Requests with side effects (other than GET and HEAD) take a fresh connection, others
/// are repeated once when a pooled connection turns out to be closed. A pooled connection on which
/// anything arrives unasked is closed, and so is one whose response did not end where its framing
/// says: no request is answered by what was meant for another. A UNIX socket whose backlog is full
/// is waited for. Responses: HTTP/1.0 or 1.1, CRLF or bare LF, by length, chunked or to
/// the end of the connection.
///
/// Sends exactly the headers of the Request, plus Host (if absent), Content-Length and Connection.
/// Errors are responses: 503 cannot connect, or the answer is more than the process has room for
/// now (Retry-After: 1), 504 no answer in time, 502 not HTTP.
///
/// Usable on any io_context; pools left behind in a context close with it.
class Upstream : public Handler {
 public:
  /// Fails when the TLS files cannot be read.
  static Result<std::unique_ptr<Upstream>> create(UpstreamOptions options);
  ~Upstream() override;

  [[nodiscard]] UpstreamCounts<> counters() const;  ///< summed over the workers
  /// Reads the TLS files again, for connections from now on; those that rest go on with what they
  /// were made with. What cannot be read changes nothing.
  [[nodiscard]] Status reload_tls();

  struct Impl;

 private:
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  explicit Upstream(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace metatap::http
