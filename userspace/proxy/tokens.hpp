// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metatap/result.hpp"

/// Session tokens: what a guest fetches by PUT and shows with its other requests, as of IMDSv2. All
/// that a token says is in the token, encrypted and signed (AES-256-GCM), so that nothing is kept
/// of those that are out.
namespace metatap::proxy {

/// Seconds that a client may ask for (AWS: "X-aws-ec2-metadata-token-ttl-seconds").
inline constexpr std::chrono::seconds kLongestToken{21'600};

/// Whom a token speaks for. It opens for nobody else.
struct TokenHolder {
  std::string port;          ///< its id; of no known port: its network or router and its address
  std::uint64_t plug = 0;    ///< Origin::plug
  std::uint64_t tenant = 0;  ///< whose the port is (tenant_of())
};

/// A key with its number, which is in each token. Times are milliseconds of CLOCK_BOOTTIME, which
/// no change of the host's clock moves.
struct TokenKey {
  std::uint32_t number = 0;
  std::int64_t made = 0;
  std::array<unsigned char, 32> bytes{};
};

/// The keys of one boot of this host: a token does not outlive it, as its guests do not. Immutable;
/// the bytes are wiped at the end.
class TokenKeys {
 public:
  static constexpr std::chrono::hours kRenewed{24};
  /// A new key is used once whoever else opens tokens has read it (a worker that is replaced).
  static constexpr std::chrono::seconds kKnownBefore{30};

  explicit TokenKeys(std::string boot);
  /// `bytes`: what bytes() gave. nullopt: they are of another boot, or none of ours.
  static std::optional<TokenKeys> of(std::string_view bytes, std::string boot);
  ~TokenKeys();
  TokenKeys(const TokenKeys&) = delete;
  TokenKeys& operator=(const TokenKeys&) = delete;
  TokenKeys(TokenKeys&&) noexcept = default;
  TokenKeys& operator=(TokenKeys&&) = delete;

  /// Whether it is time for another key.
  [[nodiscard]] bool old(std::int64_t now) const;
  /// These with another key, and without those of which no token can be good any more.
  [[nodiscard]] Result<TokenKeys> renewed(std::int64_t now) const;
  /// For a key file.
  [[nodiscard]] std::string bytes() const;

  /// A token that is good until `expires`. ErrorCode::internal: OpenSSL would not.
  [[nodiscard]] Result<std::string> seal(const TokenHolder& holder, std::int64_t expires,
                                         std::int64_t now) const;
  /// Whether it is a token of ours, for that holder, and still good. `token` is whatever a guest
  /// sent.
  [[nodiscard]] bool opens(std::string_view token, const TokenHolder& holder,
                           std::int64_t now) const;

 private:
  [[nodiscard]] const TokenKey* sealing_key(std::int64_t now) const;
  [[nodiscard]] std::string bound_to(const TokenHolder& holder) const;

  std::string boot_;
  std::vector<TokenKey> keys_;  ///< the newest last
};

}  // namespace metatap::proxy
