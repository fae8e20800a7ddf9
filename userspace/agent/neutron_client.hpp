// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/neutron_answers.hpp"
#include "agent/neutron_options.hpp"
#include "http/flight.hpp"
#include "http/upstream.hpp"
#include "metatap/result.hpp"

namespace metatap::agent {

/// http://host:port/path, taken apart.
struct ServiceUrl {
  bool tls = false;
  std::string host, path;  ///< path without a slash at its end
  std::uint16_t port = 0;
  static Result<ServiceUrl> parse(std::string_view text);
};

/// Asks Neutron for ports: Keystone v3 by password or application credential, the token renewed
/// before it expires and once more when Neutron refuses it, Neutron's endpoint from the catalog. Or
/// without Keystone: no token, Neutron's endpoint as configured.
///
/// Thread-safe; runs on the executor of whoever asks. Errors: `denied` a credential is refused,
/// with a sentence saying which; `unavailable` nobody answers; `invalid` the question or the answer
/// makes no sense.
class NeutronClient {
 public:
  using Query = std::vector<std::pair<std::string, std::string>>;

  static Result<std::unique_ptr<NeutronClient>> create(NeutronOptions options);

  /// GET /v2.0/ports?query, all pages: the elements of "ports".
  [[nodiscard]] boost::asio::awaitable<Result<std::vector<nlohmann::json>>> ports(
      const Query& query);

 private:
  struct Session {
    std::string token;
    std::chrono::system_clock::time_point renew_at;
    std::shared_ptr<http::Upstream> neutron;
    std::string path;  ///< ends in /v2.0
  };
  using SessionPtr = std::shared_ptr<const Session>;

  NeutronClient(NeutronOptions options, ServiceUrl keystone_url,
                std::unique_ptr<http::Upstream> keystone);

  [[nodiscard]] boost::asio::awaitable<Result<SessionPtr>> session(SessionPtr refused);
  [[nodiscard]] boost::asio::awaitable<Result<SessionPtr>> authenticate();
  [[nodiscard]] boost::asio::awaitable<Result<PortPage>> page(const std::string& path_and_query);
  [[nodiscard]] Result<SessionPtr> session_from(const Response& response);
  [[nodiscard]] Result<SessionPtr> session_at(const std::string& url, std::string token,
                                              std::chrono::system_clock::time_point renew_at);
  [[nodiscard]] std::string credentials() const;
  [[nodiscard]] std::string who() const;

  const NeutronOptions options_;
  const ServiceUrl keystone_url_;
  const std::unique_ptr<http::Upstream> keystone_;  ///< null: there is none

  std::mutex mutex_;
  SessionPtr session_;
  std::shared_ptr<http::Flight<Result<SessionPtr>>> signing_in_;
  /// Kept over renewals with its connections, as long as the catalog names the same endpoint.
  std::string neutron_url_;
  std::shared_ptr<http::Upstream> neutron_;
};

}  // namespace metatap::agent
