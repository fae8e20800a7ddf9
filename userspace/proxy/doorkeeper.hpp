// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ledger/record.hpp"
#include "metatap/exchange.hpp"
#include "proxy/access_control.hpp"

namespace metatap::proxy {

/// What of a guest's headers means anything to the proxy, found in one pass.
struct NotedHeaders {
  std::optional<std::string_view> accept;         ///< the first
  unsigned accepts = 0;                           ///< so many of these
  std::optional<std::string_view> if_none_match;  ///< the last
  std::string_view token;                         ///< X-aws-ec2-metadata-token or X-metadata-token
  unsigned tokens = 0;                            ///< so many of these

  static NotedHeaders of(const Request& request);
};

/// An answer of the proxy's own, and in one word, for logs, why the stages behind are not asked.
struct OwnAnswer {
  Response response;
  std::string_view reason;
};

/// Whether a request of one connection may go on: tokens are handed out and looked at here, and
/// sealed paths kept. Its answers are those of the EC2 service (IMDSv2): clients that know tokens
/// fetch another one after a 401.
///
///   PUT /latest/api/token (or /meta-data/latest/api/token) → the token; 400, 403, 405
///   a token that does not open, or two → 401
///   none, where one is required → 401
///   none, for a sealed path, neither in the boot window nor from a port below 1024 → 403
///   whatever it shows, for what is answered once and has been → 403, or is just now → 503
class Doorkeeper {
 public:
  /// `address`, `source_port`: the caller's; all outlive this.
  Doorkeeper(AccessControl& control, PortAccess& port, std::string_view address,
             std::uint16_t source_port)
      : control_(control), port_(port), address_(address), source_port_(source_port) {}

  /// Whether a request has been judged, and counted by its token, before.
  enum class Look : std::uint8_t { first, again };
  /// nullopt: it goes on.
  [[nodiscard]] std::optional<OwnAnswer> judge(const Request& request, const NotedHeaders& noted,
                                               Look look = Look::first);
  /// Before an answer of the stages behind is sent to who asked last; nullopt: it may be.
  [[nodiscard]] std::optional<OwnAnswer> give(const Response& response);
  /// All of it was sent.
  void given();
  /// What the last of them showed.
  [[nodiscard]] ledger::Token token() const { return token_; }

 private:
  [[nodiscard]] std::optional<OwnAnswer> judge_token(const Request& request,
                                                     const NotedHeaders& noted,
                                                     const Access& access, Look look);
  [[nodiscard]] std::optional<OwnAnswer> judge_plain(const Request& request, const Access& access,
                                                     Look look);
  [[nodiscard]] OwnAnswer hand_out(const Request& request);
  [[nodiscard]] OwnAnswer refuse_to_repeat();

  AccessControl& control_;
  PortAccess& port_;
  const std::string_view address_;
  const std::uint16_t source_port_;
  ledger::Token token_ = ledger::Token::unread;
  std::optional<std::uint64_t> once_;  ///< what the last of them asked for, if it is answered once
  std::optional<SingleReading> reading_;  ///< of that, where it is on its way
};

}  // namespace metatap::proxy
