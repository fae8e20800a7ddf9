// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "http/flight.hpp"
#include "http/upstream.hpp"
#include "metatap/result.hpp"
#include "openstack/access.hpp"

namespace metatap::openstack {

/// http://host:port/path, taken apart.
struct ServiceUrl {
  bool tls = false;
  std::string host, path;  ///< path without a slash at its end
  std::uint16_t port = 0;
  static Result<ServiceUrl> parse(std::string_view text);
};

/// A client of that service, with the certificates and bounds of `access`; X-Subject-Token and Date
/// are handed on. Fails when the TLS files cannot be read.
[[nodiscard]] Result<std::unique_ptr<http::Upstream>> upstream_to(const ServiceUrl& url,
                                                                  const Access& access);

/// What a sign-in gave.
struct Token {
  std::string id;  ///< secret; empty: there is no Keystone
  std::chrono::system_clock::time_point renew_at;
  nlohmann::json catalog;
};
using TokenPtr = std::shared_ptr<const Token>;

/// Signs in to Keystone v3 and keeps the token, which is renewed before it expires and when a
/// service refuses it.
///
/// Thread-safe; runs on the executor of whoever asks. Errors: `denied` a credential is refused,
/// with a sentence saying which; `unavailable` nobody answers; `invalid` the answer makes no sense.
class Keystone {
 public:
  /// ErrorCode::invalid: auth_url is no URL, or a TLS file cannot be read.
  static Result<std::unique_ptr<Keystone>> create(Access access);

  /// A token that is not the refused one; signing in happens once for all who wait.
  [[nodiscard]] boost::asio::awaitable<Result<TokenPtr>> token(TokenPtr refused);

  [[nodiscard]] const Access& access() const { return access_; }
  /// Whether there is one: else no token will ever be another.
  [[nodiscard]] bool signs_in() const { return upstream_ != nullptr; }
  /// For sentences: "user 'neutron' in project 'service'".
  [[nodiscard]] std::string who() const;
  /// For sentences: "Keystone at http://…".
  [[nodiscard]] std::string where() const { return "Keystone at " + access_.auth_url; }

 private:
  Keystone(Access access, ServiceUrl url, std::unique_ptr<http::Upstream> upstream);
  [[nodiscard]] boost::asio::awaitable<Result<TokenPtr>> sign_in();
  [[nodiscard]] Result<TokenPtr> token_from(const Response& response) const;

  const Access access_;
  const ServiceUrl url_;
  const std::unique_ptr<http::Upstream> upstream_;  ///< null: there is none

  std::mutex mutex_;
  TokenPtr token_;
  std::shared_ptr<http::Flight<Result<TokenPtr>>> signing_in_;
};

}  // namespace metatap::openstack
