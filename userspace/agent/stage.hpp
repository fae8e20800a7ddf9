// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/options.hpp"
#include "agent/port_tags.hpp"
#include "agent/signer.hpp"
#include "metatap/counters.hpp"
#include "metatap/directory.hpp"
#include "metatap/exchange.hpp"

namespace metatap::agent {

/// The agent: says which instance a request comes from and asks the API in its name. Stands in for
/// neutron-metadata-agent (as it was up to 2024.2: bodies go through as bytes).
///
/// It takes a network id (X-Neutron-Network-ID or X-OVN-Network-ID) or a router id
/// (X-Neutron-Router-ID) and one address in X-Forwarded-For. Both ids: 404, as in Neutron. Neither,
/// or no or several or an unparsable address: 400, where Neutron answered 500 by accident.
///
/// X-Metatap-Port-ID names the port itself, and then the lookup is one read of a table. From the
/// same process it is believed as it is; else X-Metatap-Port-Signature must sign it, the network or
/// router and the address with our key (base/port_tag.hpp). A tag that cannot be believed is
/// answered 503 with Retry-After, logged (a line a minute at most) and counted, never looked up by
/// address instead: no signature or a wrong one, one without a tag, either of them twice (be they
/// equal) or empty. The names count in any case; X_Metatap_Port_ID is another name, which nobody
/// writes and nobody reads.
///
/// The API's 200 passes with its body and content type (and how old it is, where a shield answers),
/// 400, 403, 404, 409, 413, 414, 431, 500,
/// 502, 503 and 504 with their status and Retry-After alone (an API's error text is not for
/// guests); any other status becomes 500. Redirects are not followed: they would carry the signed
/// identity elsewhere.
///
/// Thread-safe. `directory` and `api` outlive it.
class AgentStage final : public Handler {
 public:
  /// Refuses an empty shared secret. `key`: what a proxy in another process signs port tags with.
  static Result<std::unique_ptr<AgentStage>> create(Directory& directory, Handler& api,
                                                    const AgentOptions& options,
                                                    std::optional<PortTagKey> key = {});

  [[nodiscard]] AgentCounts<> counters() const { return {tags_.refused()}; }

  /// Who asks, and what the API would be asked in that name.
  struct Rehearsed {
    Identity identity;
    std::vector<std::pair<std::string, std::string>> headers;  ///< for the API; signed
  };
  /// As a request of a guest's, but the API is not asked. An error says why there is no identity.
  [[nodiscard]] boost::asio::awaitable<Result<Rehearsed>> rehearse(const Request& request);

 private:
  class Outgoing;
  class ApiCall;
  struct Question;
  struct Unknown;

  AgentStage(Directory& directory, Handler& api, Signer signer, const AgentOptions& options,
             std::optional<PortTagKey> key);

  [[nodiscard]] tl::expected<Question, Response> read(const Request& request) const;
  [[nodiscard]] std::optional<Response> handle(const Request& request,
                                               boost::asio::io_context& here,
                                               Continuation& then) override;
  /// Whether the directory is to be asked again: the address may have a new owner since.
  [[nodiscard]] bool in_doubt(const Response& from_api) const;
  /// What needs the directory itself: an identity that is not known, or one the API does not know.
  [[nodiscard]] boost::asio::awaitable<Response> ask_directory(const Request& request,
                                                               Question question,
                                                               std::optional<Unknown> unknown);
  [[nodiscard]] boost::asio::awaitable<Response> ask_api(const Request& request,
                                                         std::string_view forwarded_for,
                                                         Identity identity);
  [[nodiscard]] Response refused(const Request& request, const Error& error) const;
  [[nodiscard]] static Response for_guest(const Request& request, Response from_api);

  Directory& directory_;
  Handler& api_;
  Signer signer_;
  PortTags tags_;
  std::string retry_after_;
};

}  // namespace metatap::agent
