// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "agent/neutron_options.hpp"
#include "metatap/result.hpp"
#include "openstack/service.hpp"

namespace metatap::agent {

/// Asks Neutron for ports, at the endpoint that Keystone's catalogue or the configuration has.
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
  explicit NeutronClient(std::unique_ptr<openstack::Service> neutron)
      : neutron_(std::move(neutron)) {}
  /// An answer that is none of ports becomes its error.
  [[nodiscard]] Status judge(const Response& response) const;

  const std::unique_ptr<openstack::Service> neutron_;
};

}  // namespace metatap::agent
