// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/config.hpp"
#include "http/limits.hpp"
#include "http/upstream.hpp"
#include "ledger/ledger.hpp"
#include "metatap/result.hpp"
#include "proxy/access_control.hpp"
#include "proxy/long_poll.hpp"
#include "proxy/rate_limit.hpp"

namespace metatap::proxy {

/// How much Neutron's agent reads of a request, with one read.
inline constexpr std::size_t kNeutronReads = 4096;

/// Which answers carry an entity tag. To make one costs time, and to send it some guests a packet.
enum class EtagMode : std::uint8_t {
  off,     ///< only those that waited for a change
  asked,   ///< those, and to requests with If-None-Match, be it empty
  always,  ///< each GET's
};

/// The proxy's settings; Neutron's option names where Neutron has one.
struct ProxyOptions {
  /// [metadata_haproxy] timeout_client, timeout_http_request, timeout_http_keep_alive; [proxy]
  /// max_head, max_target, max_body (bytes).
  http::Limits limits;
  /// [DEFAULT] metadata_proxy_socket: where the agent listens, when it is another process.
  std::string metadata_proxy_socket = "/var/lib/metatap/metadata_proxy";
  std::chrono::milliseconds timeout_connect{30'000};  ///< [metadata_haproxy]
  std::chrono::milliseconds timeout_server{32'000};   ///< [metadata_haproxy]
  /// [proxy] workers: threads that serve guests; 0 in the file: two, or one on one CPU.
  unsigned workers = 1;
  unsigned max_connections_per_network = 1024;  ///< [proxy]; beyond it: 503
  unsigned max_connections_per_port = 64;       ///< [proxy]; beyond it: 503
  /// [proxy]: of the addresses of one network or router that are no port's, together.
  unsigned max_connections_unknown = 128;
  /// [proxy] neutron_agent: the upstream is Neutron's own agent, which reads a request with one
  /// read of 4096 bytes and closes: nothing but what it needs is sent, in one write.
  bool neutron_agent = false;
  /// [proxy] access_log_sample: one answer in so many is a line of the access log; 0: none.
  unsigned access_log_sample = 0;
  EtagMode etags = EtagMode::asked;  ///< [proxy]
  /// [proxy] max_waiting, max_waiting_per_port, change_poll, longest_wait
  LongPollRules long_poll;
  /// Of the stages behind, one or all are other processes. Not in the file: who joins them says it.
  bool others_behind = false;
  /// [proxy]: for how long a request waits whose device no port has yet; then: 503.
  std::chrono::milliseconds hold_unknown{5'000};
  RateLimit rate_limit;  ///< [metadata_rate_limiting]
  AccessOptions access;  ///< [proxy] tokens, boot_window, token_hop_limit, sealed, read_once

  ledger::LedgerOptions ledger;  ///< [proxy] ledger, ledger_file_size, ledger_files

  static Result<ProxyOptions> from(const Config& config);
  /// How to reach the agent over its socket.
  [[nodiscard]] http::UpstreamOptions upstream() const;
};

}  // namespace metatap::proxy
