// SPDX-License-Identifier: Apache-2.0
#include "agent/stage.hpp"

#include <array>
#include <utility>

#include "agent/error_page.hpp"
#include "agent/place.hpp"
#include "base/ascii.hpp"
#include "base/log.hpp"

namespace metatap::agent {
namespace {

const Peer kOurselves{.in_process = true};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  return first == std::string_view::npos
             ? std::string_view()
             : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// What the request says of one kind. Two headers that say something are one too many, be they
/// equal: a proxy sends one.
struct Said {
  std::string_view value;
  int times = 0;

  void add(std::string_view text) {
    if (!trimmed(text).empty()) {
      take(text);
    }
  }
  /// Also when it says nothing.
  void take(std::string_view text) {
    value = trimmed(text);
    ++times;
  }
};

}  // namespace

struct AgentStage::Question {
  DirectoryQuery query;
  std::string_view forwarded_for;
};

/// The request to the API and all it points to: made anew, with nothing of the guest's but method,
/// target and body. Stays where it is.
class AgentStage::Outgoing {
 public:
  Outgoing(const Request& request, std::string_view forwarded_for, Identity identity,
           const Signer& signer)
      : identity_(std::move(identity)),
        signature_(signer.sign(identity_.instance_id)),
        headers_{Header{"X-Forwarded-For", forwarded_for},
                 Header{"X-Instance-ID", identity_.instance_id},
                 Header{"X-Tenant-ID", identity_.project_id},
                 Header{"X-Instance-ID-Signature", signature_}},
        request_{.method = request.method,
                 .target = request.target,
                 .headers = headers_,
                 .body = request.body,
                 .peer = &kOurselves} {}
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;

  [[nodiscard]] const Request& request() const { return request_; }
  [[nodiscard]] const Identity& identity() const { return identity_; }

 private:
  Identity identity_;
  std::string signature_;
  std::array<Header, 4> headers_;
  Request request_;
};

/// A request that waits for the API, and who waits for it. Owns itself once it is on its way.
class AgentStage::Errand final : public Continuation {
 public:
  Errand(AgentStage& stage, const Request& request, std::string_view forwarded_for,
         Identity identity, Continuation& then)
      : stage_(stage),
        request_(request),
        outgoing_(request, forwarded_for, std::move(identity), stage.signer_),
        then_(then) {}
  virtual ~Errand() = default;

  [[nodiscard]] const Request& outgoing() const { return outgoing_.request(); }

  void answered(Response response) override {
    const std::unique_ptr<Errand> self(this);
    if (response.status == 404 && !stage_.directory_.current()) {
      then_.unanswered();  // the address may have a new owner: handle() asks the directory again
    } else {
      then_.answered(for_guest(request_, std::move(response)));
    }
  }
  void unanswered() override {
    const std::unique_ptr<Errand> self(this);
    then_.unanswered();
  }
  void abandoned() override {
    const std::unique_ptr<Errand> self(this);
    then_.abandoned();
  }

 private:
  AgentStage& stage_;
  const Request& request_;
  const Outgoing outgoing_;
  Continuation& then_;
};

AgentStage::AgentStage(Directory& directory, Handler& api, Signer signer,
                       const AgentOptions& options, std::optional<PortTagKey> key)
    : directory_(directory),
      api_(api),
      signer_(std::move(signer)),
      tags_(std::move(key)),
      retry_after_(std::to_string(options.retry_after.count())) {}

Result<std::unique_ptr<AgentStage>> AgentStage::create(Directory& directory, Handler& api,
                                                       const AgentOptions& options,
                                                       std::optional<PortTagKey> key) {
  auto signer = Signer::with(options.metadata_proxy_shared_secret);
  if (!signer) {
    return tl::make_unexpected(std::move(signer.error()));
  }
  return std::unique_ptr<AgentStage>(
      new AgentStage(directory, api, std::move(*signer), options, std::move(key)));
}

tl::expected<AgentStage::Question, Response> AgentStage::read(const Request& request) const {
  Said network;
  Said router;
  Said address;
  Said port;
  Said signature;
  for (const auto& header : request.headers) {
    // One look at the length and letter spares most comparisons.
    if (header.name.size() < 15 || (header.name.front() | 0x20) != 'x') {
      continue;
    }
    if (iequals(header.name, "X-Forwarded-For")) {
      address.add(header.value);
    } else if (iequals(header.name, "X-Neutron-Network-ID") ||
               iequals(header.name, "X-OVN-Network-ID")) {
      network.add(header.value);
    } else if (iequals(header.name, "X-Neutron-Router-ID")) {
      router.add(header.value);
    } else if (iequals(header.name, kPortIdHeader)) {
      port.take(header.value);
    } else if (iequals(header.name, kPortSignatureHeader)) {
      signature.take(header.value);
    }
  }
  const DirectoryQuery query{.port_id = port.value,
                             .network_id = network.value,
                             .router_id = router.value,
                             .address = address.value};
  const bool tagged = port.times + signature.times > 0;
  if (tagged && (port.times > 1 || signature.times > 1 ||
                 !tags_.believe(query, signature.value, request.peer->in_process))) {
    return tl::make_unexpected(refused(request, tags_.refuse()));
  }
  if (network.times + router.times > 1) {
    return tl::make_unexpected(error_page(request, 404));
  }
  if (network.times + router.times + port.times == 0) {
    return tl::make_unexpected(
        error_page(request, 400, "The request names neither a network nor a router."));
  }
  if (address.times != 1 || !Locator::of_address(address.value)) {
    return tl::make_unexpected(error_page(
        request, 400, "The request must name its origin by one address in X-Forwarded-For."));
  }
  return Question{.query = query, .forwarded_for = address.value};
}

Response AgentStage::refused(const Request& request, const Error& error) const {
  if (error.code == ErrorCode::not_found) {
    return error_page(request, 404);
  }
  log::debug("agent: the directory gave no answer: {}", error.message);
  auto response = error_page(request, 503);
  response.headers.emplace_back("Retry-After", retry_after_);
  return response;
}

Response AgentStage::for_guest(const Request& request, Response from_api) {
  switch (from_api.status) {
    case 200: {
      from_api.headers.clear();
      from_api.close = false;
      return from_api;
    }
    case 500:
      return error_page(request, 500,
                        "Remote metadata server experienced an internal server error.");
    case 400:
    case 403:
    case 404:
    case 409:
    case 502:
    case 503:
    case 504: {
      auto response = error_page(request, from_api.status);
      for (auto& [name, value] : from_api.headers) {
        if (iequals(name, "Retry-After")) {
          response.headers.emplace_back("Retry-After", std::move(value));
        }
      }
      return response;
    }
    default:
      log::debug("agent: the API answered with status {}", from_api.status);
      return error_page(request, 500,
                        "An unknown error has occurred. Please try your request again.");
  }
}

std::optional<Response> AgentStage::answer(const Request& request) {
  const auto question = read(request);
  if (!question) {
    return question.error();
  }
  auto identity = directory_.known(question->query);
  if (!identity) {
    if (identity.error().code == ErrorCode::unavailable) {
      return std::nullopt;
    }
    return refused(request, identity.error());
  }
  const Outgoing outgoing(request, question->forwarded_for, std::move(*identity), signer_);
  auto response = api_.answer(outgoing.request());
  if (!response || (response->status == 404 && !directory_.current())) {
    return std::nullopt;
  }
  return for_guest(request, std::move(*response));
}

bool AgentStage::ask(const Request& request, boost::asio::io_context& here, Continuation& then) {
  const auto question = read(request);
  if (!question) {
    return false;
  }
  auto identity = directory_.known(question->query);
  if (!identity) {
    return false;
  }
  auto errand =
      std::make_unique<Errand>(*this, request, question->forwarded_for, std::move(*identity), then);
  if (!api_.ask(errand->outgoing(), here, *errand)) {
    return false;
  }
  static_cast<void>(errand.release());  // it owns itself, and may be gone
  return true;
}

boost::asio::awaitable<Response> AgentStage::call(const Request& outgoing) {
  if (auto response = api_.answer(outgoing)) {
    co_return std::move(*response);
  }
  co_return co_await api_.handle(outgoing);
}

boost::asio::awaitable<Response> AgentStage::handle(const Request& request) {
  const auto question = read(request);
  if (!question) {
    co_return question.error();
  }
  auto identity = directory_.known(question->query);
  if (!identity && identity.error().code == ErrorCode::unavailable) {
    identity = co_await directory_.find(question->query, Freshness::cached);
  }
  if (!identity) {
    co_return refused(request, identity.error());
  }
  const Outgoing outgoing(request, question->forwarded_for, std::move(*identity), signer_);
  auto response = co_await call(outgoing.request());
  if (response.status == 404 && !directory_.current()) {
    // The address may have a new owner since the directory was asked: ask it once more.
    auto fresh = co_await directory_.find(question->query, Freshness::asked);
    if (fresh && *fresh != outgoing.identity()) {
      const Outgoing again(request, question->forwarded_for, std::move(*fresh), signer_);
      response = co_await call(again.request());
    }
  }
  co_return for_guest(request, std::move(response));
}

}  // namespace metatap::agent
